//! How many connections or sessions there may be, in all and from one address.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::gauge::Gauge;

use crate::metrics::Refused;

/// The permits for connections, or those for sessions. Clones share them.
#[derive(Clone, Debug)]
pub struct ConnectionLimit(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    /// None: as many as there are permits.
    most_per_address: Option<usize>,
    taken: Mutex<Taken>,
    /// How many are taken.
    count: Gauge,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Those that have any; empty where nobody asks.
    by_address: HashMap<IpAddr, usize>,
}

/// A permit that is taken, until it is dropped.
#[derive(Debug)]
pub struct Permit {
    shared: Arc<Shared>,
    address: IpAddr,
}

impl ConnectionLimit {
    /// `most` in all; `most_per_address` from one IPv4 address or one /64 of IPv6,
    /// which one host may have to itself. `count` shows how many are taken.
    pub fn new(most: usize, most_per_address: Option<usize>, count: Gauge) -> Self {
        Self(Arc::new(Shared {
            most,
            most_per_address,
            taken: Mutex::default(),
            count,
        }))
    }

    /// Takes a permit for a connection or session from `address`.
    ///
    /// # Errors
    ///
    /// There is none left.
    pub fn take(&self, address: IpAddr) -> Result<Permit, Refused> {
        let address = counted_as(address);
        let mut taken = self.0.lock();
        if taken.all >= self.0.most {
            return Err(Refused::TooMany);
        }
        if let Some(most) = self.0.most_per_address {
            let count = taken.by_address.entry(address).or_default();
            if *count >= most {
                return Err(Refused::TooManyFromAddress);
            }
            *count += 1;
        }
        taken.all += 1;
        drop(taken);
        self.0.count.inc();
        Ok(Permit {
            shared: Arc::clone(&self.0),
            address,
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut taken = self.shared.lock();
        taken.all -= 1;
        self.shared.count.dec();
        if let Entry::Occupied(mut count) = taken.by_address.entry(self.address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooMany => {
                "as many are open as MAX_CONNECTIONS, or the limit of open files, allows"
            }
            Self::TooManyFromAddress => {
                "as many are open from one address as MAX_CONNECTIONS_PER_ADDRESS allows"
            }
        })
    }
}

fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_by_address_and_free_up() {
        let permits = ConnectionLimit::new(4, Some(2), Gauge::default());
        let take = |address: &str| permits.take(address.parse().expect("an address"));
        let first = take("2001:db8::1").expect("a permit");
        let _second = take("2001:db8::ffff:1").expect("a permit");
        assert_eq!(take("2001:db8::2").err(), Some(Refused::TooManyFromAddress));
        let _third = take("2001:db8:0:1::1").expect("a permit for another network");
        let _fourth = take("192.0.2.1").expect("a permit");
        assert_eq!(take("192.0.2.1").err(), Some(Refused::TooMany));
        drop(first);
        let fifth = take("::ffff:192.0.2.1").expect("a permit");
        drop(fifth);
        let _sixth = take("2001:db8::3").expect("a permit");
        assert_eq!(permits.0.lock().by_address.len(), 3);
    }
}
