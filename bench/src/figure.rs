//! What is measured, what is to be reached, and how both are written.

use crate::side::Side;

/// One line of the table.
#[derive(Clone, Copy)]
pub(crate) struct Figure {
    /// What it is.
    pub(crate) title: &'static str,
    /// Which of the values of a run.
    pub(crate) value: usize,
    /// What it is counted in.
    pub(crate) unit: Unit,
    /// What it is compared with.
    pub(crate) against: Option<Side>,
    /// What is to be reached.
    pub(crate) target: Target,
}

impl Figure {
    /// One that is compared with no other side.
    pub(crate) const fn of_ours(
        title: &'static str,
        value: usize,
        unit: Unit,
        target: Target,
    ) -> Self {
        Self {
            title,
            value,
            unit,
            against: None,
            target,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    Milliseconds,
    Microseconds,
    Seconds,
    /// Of 1,000,000 bytes.
    Megabytes,
    PerSecond,
    /// Of one core.
    Percent,
    /// A ratio within a run.
    Times,
    Count,
}

#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// Ours divided by the other side's.
    RatioAtMost(f64),
    /// Likewise.
    RatioAtLeast(f64),
    /// Ours.
    AtMost(f64),
    /// Nothing; it is only reported.
    Report,
}

impl Unit {
    /// The value as a person reads it: `1.23 ms`.
    pub(crate) fn text(self, value: f64) -> String {
        let unit = match self {
            Self::Milliseconds => " ms",
            Self::Microseconds => " µs",
            Self::Seconds => " s",
            Self::Megabytes => " MB",
            Self::PerSecond => "/s",
            Self::Percent => " %",
            Self::Times | Self::Count => "",
        };
        format!("{}{unit}", number(value))
    }
}

impl Target {
    /// As it stands in the table.
    pub(crate) fn text(self, unit: Unit) -> String {
        match self {
            Self::RatioAtMost(ratio) => format!("≤ {ratio:.2}"),
            Self::RatioAtLeast(ratio) => format!("≥ {ratio:.2}"),
            Self::AtMost(value) => format!("≤ {}", unit.text(value)),
            Self::Report => "–".to_owned(),
        }
    }

    /// Whether it is reached; `None` where nothing is to be reached, or where it
    /// cannot be told.
    pub(crate) fn is_reached(self, ours: f64, ratio: Option<f64>) -> Option<bool> {
        match self {
            Self::RatioAtMost(most) => ratio.map(|ratio| ratio <= most),
            Self::RatioAtLeast(least) => ratio.map(|ratio| ratio >= least),
            Self::AtMost(most) => Some(ours <= most),
            Self::Report => None,
        }
    }
}

/// Three digits, or all before the point, in groups.
pub(crate) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, format!(".{fraction}")),
        None => (text.as_str(), String::new()),
    };
    let (sign, digits) = match whole.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", whole),
    };
    let mut grouped = String::new();
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.1234, "0.12"),
            (12.34, "12.3"),
            (999.6, "1,000"),
            (1_234_567.8, "1,234,568"),
            (-1_234.0, "-1,234"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
