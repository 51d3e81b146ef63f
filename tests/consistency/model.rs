//! What a change of a service and its pricings means to clients: the table of the
//! README, once more.

/// A service, as a transaction that has its turn sees it.
#[derive(Clone, Debug, Default)]
pub struct Service {
    pub organization: String,
    pub name: String,
    /// `None`: there is none of this name.
    pub disabled: Option<bool>,
    pub pricings: Vec<Pricing>,
}

#[derive(Clone, Debug)]
pub struct Pricing {
    pub version: String,
    pub active: bool,
}

/// A statement, and the events that it causes if it is committed.
#[derive(Clone, Debug)]
pub enum Change {
    Sql(String, Vec<String>),
    /// `COPY pricings (service_name, version) FROM STDIN`.
    Copy(Vec<String>, Vec<String>),
}

impl Service {
    /// A random change of it that its state allows; `fresh` makes versions that
    /// were never there.
    pub fn change(
        &self,
        rng: &mut fastrand::Rng,
        replica: bool,
        fresh: &mut impl FnMut() -> String,
    ) -> Change {
        let Self {
            organization, name, ..
        } = self;
        let Some(disabled) = self.disabled else {
            return Change::Sql(
                format!("insert into services (name) values ('{name}')"),
                Vec::new(),
            );
        };
        let of_it = format!("where organization = '{organization}' and service_name = '{name}'");
        let this = format!("where organization = '{organization}' and name = '{name}'");
        let one = (!self.pricings.is_empty())
            .then(|| rng.choice(&self.pricings))
            .flatten();
        let says = |code: &str, versions: Vec<&str>| -> Vec<String> {
            if disabled {
                return Vec::new();
            }
            versions
                .into_iter()
                .map(|version| format!("{code} {name} {version}"))
                .collect()
        };
        let with = |active: bool| -> Vec<&str> {
            let those = self
                .pricings
                .iter()
                .filter(|pricing| pricing.active == active);
            those.map(|pricing| &*pricing.version).collect()
        };
        let ends = if disabled {
            Vec::new()
        } else {
            vec![format!("DISABLED {name}")]
        };
        let choice = rng.u8(..if replica { 70 } else { 100 });
        match (choice, one) {
            (0..20, _) | (_, None) => {
                let version = fresh();
                let insert = format!(
                    "insert into pricings (service_name, version) values ('{name}', '{version}')"
                );
                Change::Sql(insert, says("CREATED", vec![&version]))
            }
            (20..30, Some(_)) => {
                let count = rng.usize(2..30);
                let versions: Vec<String> = (0..count).map(|_| fresh()).collect();
                let values: Vec<String> = versions
                    .iter()
                    .map(|version| format!("('{name}', '{version}', 'archived')"))
                    .collect();
                let insert = format!(
                    "insert into pricings (service_name, version, availability) values {}",
                    values.join(", ")
                );
                let events = says("CREATED", versions.iter().map(|v| &**v).collect());
                Change::Sql(insert, events)
            }
            (30..45, Some(one)) => {
                let (from, code) = if one.active {
                    ("archived", "ARCHIVED")
                } else {
                    ("active", "ACTIVED")
                };
                let version = &one.version;
                let update = format!(
                    "update pricings set availability = '{from}' {of_it} and version = '{version}'"
                );
                Change::Sql(update, says(code, vec![version]))
            }
            (45..52, Some(one)) => {
                let version = &one.version;
                let delete = format!("delete from pricings {of_it} and version = '{version}'");
                let gone = if one.active {
                    vec![&**version]
                } else {
                    Vec::new()
                };
                Change::Sql(delete, says("ARCHIVED", gone))
            }
            (52..58, Some(one)) => {
                let version = fresh();
                let update = format!(
                    "update pricings set version = '{version}' {of_it} and version = '{}'",
                    one.version
                );
                Change::Sql(update, says("CREATED", vec![&version]))
            }
            (58..70, Some(_)) => {
                let update = format!("update services set disabled = {} {this}", !disabled);
                let events = if disabled {
                    let back = with(true).into_iter();
                    back.map(|version| format!("ACTIVED {name} {version}"))
                        .collect()
                } else {
                    ends
                };
                Change::Sql(update, events)
            }
            (70..76, Some(_)) => {
                let versions: Vec<String> = (0..rng.usize(1..50)).map(|_| fresh()).collect();
                let rows = versions
                    .iter()
                    .map(|version| format!("{name}\t{version}\n"));
                let events = says("CREATED", versions.iter().map(|v| &**v).collect());
                Change::Copy(rows.collect(), events)
            }
            (76..82, Some(one)) => {
                let version = &one.version;
                let new = fresh();
                let upsert = format!(
                    "insert into pricings (service_name, version) values ('{name}', '{version}'), ('{name}', '{new}')
                    on conflict (service_name, version, organization) do update set availability = 'archived'"
                );
                let mut events = says("CREATED", vec![&new]);
                if one.active {
                    events.extend(says("ARCHIVED", vec![version]));
                }
                Change::Sql(upsert, events)
            }
            (82..86, Some(_)) => {
                let update = format!("update pricings set availability = 'archived' {of_it}");
                Change::Sql(update, says("ARCHIVED", with(true)))
            }
            (86..89, Some(_)) => {
                let delete = format!("delete from pricings {of_it}");
                Change::Sql(delete, says("ARCHIVED", with(true)))
            }
            (89..92, Some(_)) => Change::Sql(format!("delete from services {this}"), ends),
            (92..95, Some(_)) => {
                let both = format!(
                    "with s as (update services set disabled = true {this})
                    update pricings set availability = 'archived' {of_it}"
                );
                Change::Sql(both, ends)
            }
            (_, Some(_)) => {
                let same = format!(
                    "update pricings set document = '{{}}', availability = availability {of_it};
                    update services set disabled = disabled, updated_at = now() {this}"
                );
                Change::Sql(same, Vec::new())
            }
        }
    }

    /// What it means that it moves to another organisation, which has none of its name:
    /// to the one that it leaves, and to the other.
    pub fn moved(&self, to: &str) -> (String, [Vec<String>; 2]) {
        let Self {
            organization, name, ..
        } = self;
        let sql = format!(
            "update services set organization = '{to}'
            where organization = '{organization}' and name = '{name}'"
        );
        let events = match self.disabled {
            Some(false) => {
                let active = self.pricings.iter().filter(|pricing| pricing.active);
                let back = active.map(|pricing| format!("ACTIVED {name} {}", pricing.version));
                [vec![format!("DISABLED {name}")], back.collect()]
            }
            _ => Default::default(),
        };
        (sql, events)
    }

    /// What it means that all services, or all pricings, are truncated.
    pub fn truncated(&self, services_too: bool) -> Vec<String> {
        let name = &self.name;
        match (self.disabled, services_too) {
            (Some(false), true) => vec![format!("DISABLED {name}")],
            (Some(false), false) => {
                let active = self.pricings.iter().filter(|pricing| pricing.active);
                active
                    .map(|pricing| format!("ARCHIVED {name} {}", pricing.version))
                    .collect()
            }
            _ => Vec::new(),
        }
    }
}
