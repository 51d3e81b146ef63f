//! Why something happened that is counted: the labels, whose values are known
//! beforehand.

use crate::event::Reason;

/// One label whose values are known beforehand.
pub(super) type Label = [(&'static str, &'static str); 1];

/// Why the program ended a client's connection, except at its own stop, when nobody can
/// read metrics any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It took nothing for too long.
    WriteTimeout,
    /// It did not answer a ping.
    Heartbeat,
    /// The journal no longer has the event that it should get next.
    BehindTheJournal,
    /// The journal no longer has the events that it was sent.
    JournalWentBack,
    /// It did not speak the protocol.
    Protocol,
    /// The task that served it panicked.
    Panic,
}

impl Ended {
    pub(super) const ALL: [Self; 6] = [
        Self::WriteTimeout,
        Self::Heartbeat,
        Self::BehindTheJournal,
        Self::JournalWentBack,
        Self::Protocol,
        Self::Panic,
    ];

    pub(super) fn label(self) -> Label {
        [(
            "reason",
            match self {
                Self::WriteTimeout => "write_timeout",
                Self::Heartbeat => "heartbeat",
                Self::BehindTheJournal => "behind_the_journal",
                Self::JournalWentBack => "journal_went_back",
                Self::Protocol => "protocol",
                Self::Panic => "panic",
            },
        )]
    }
}

/// Why a connection was closed as soon as it came, or a session refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The limit for all is reached.
    TooMany,
    /// The limit for its address is reached.
    TooManyFromAddress,
}

impl Refused {
    pub(super) const ALL: [Self; 2] = [Self::TooMany, Self::TooManyFromAddress];

    pub(super) fn label(self) -> Label {
        [(
            "reason",
            match self {
                Self::TooMany => "max_connections",
                Self::TooManyFromAddress => "max_connections_per_address",
            },
        )]
    }
}

/// Why a client reads the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUpCause {
    /// It came back with a position.
    CameBack,
    /// It took the events more slowly than they came.
    FellBehind,
}

impl CatchUpCause {
    pub(super) const ALL: [Self; 2] = [Self::CameBack, Self::FellBehind];

    pub(super) fn label(self) -> Label {
        [(
            "cause",
            match self {
                Self::CameBack => "came_back",
                Self::FellBehind => "fell_behind",
            },
        )]
    }
}

/// What handshakes are refused with, as far as it is known beforehand.
pub(super) const REFUSALS: [&str; 5] = [
    "unauthorized",
    "filter_invalid",
    "position_invalid",
    "position_expired",
    "unavailable",
];

/// Why a change means no event.
pub(super) fn outcome(reason: Reason) -> Label {
    [("reason", reason.as_str())]
}
