//! How much one address may ask of us: connections at a time and mails a minute. This machine's own addresses are not counted.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Mails a minute, address by address.
pub struct Rates {
    /// 0: any number.
    limit: u32,
    since: Mutex<(Instant, HashMap<IpAddr, u32>)>,
}

const MINUTE: Duration = Duration::from_mins(1);

impl Rates {
    pub fn new(limit: u32) -> Self {
        Self { limit, since: Mutex::new((Instant::now(), HashMap::new())) }
    }

    /// One more mail, if it may be.
    pub fn allow(&self, address: IpAddr) -> bool {
        if self.limit == 0 {
            return true;
        }
        let mut guard = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, counts) = &mut *guard;
        if since.elapsed() >= MINUTE {
            *since = Instant::now();
            counts.clear();
        }
        let count = counts.entry(block(address)).or_default();
        *count = count.saturating_add(1);
        *count <= self.limit
    }
}

/// Connections that are open now.
pub struct Connections {
    limit: usize,
    limit_per_address: usize,
    open: Mutex<(usize, HashMap<IpAddr, usize>)>,
}

/// A connection that is counted for as long as this lives.
pub struct Counted {
    all: Arc<Connections>,
    address: Option<IpAddr>,
}

impl Connections {
    pub fn new(limit: usize, limit_per_address: usize) -> Arc<Self> {
        Arc::new(Self { limit, limit_per_address, open: Mutex::default() })
    }

    /// One more connection, if there may be one.
    pub fn count(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Counted> {
        let address = address.filter(|address| !address.to_canonical().is_loopback()).map(block);
        let mut guard = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, each) = &mut *guard;
        if *all >= self.limit {
            return None;
        }
        if let Some(address) = address {
            let count = each.entry(address).or_default();
            if *count >= self.limit_per_address {
                return None;
            }
            *count += 1;
        }
        *all += 1;
        drop(guard);
        Some(Counted { all: Arc::clone(self), address })
    }

    pub fn open(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut guard = self.all.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, each) = &mut *guard;
        *all = all.saturating_sub(1);
        let Some(address) = self.address else { return };
        if let Some(count) = each.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                each.remove(&address);
            }
        }
    }
}

/// Whoever has one IPv6 address has the 2^64 of its network.
fn block(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
        IpAddr::V4(address) => IpAddr::V4(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn connections_are_counted_by_address_and_together_and_given_back() {
        let connections = Connections::new(3, 1);
        let first = connections.count(Some(at("192.0.2.1"))).unwrap();
        assert!(connections.count(Some(at("192.0.2.1"))).is_none());
        drop(first);
        let _first = connections.count(Some(at("2001:db8::1"))).unwrap();
        assert!(connections.count(Some(at("2001:db8::2"))).is_none(), "the same network");
        let _second = connections.count(Some(at("127.0.0.1"))).unwrap();
        let _third = connections.count(Some(at("127.0.0.1"))).unwrap();
        assert!(connections.count(None).is_none(), "no more at all");
        assert_eq!(connections.open(), 3);
    }

    #[test]
    fn mails_are_counted_by_address() {
        let rates = Rates::new(1);
        let address = |text: &str| text.parse().unwrap();
        assert!(rates.allow(address("192.0.2.1")) && rates.allow(address("192.0.2.2")));
        assert!(!rates.allow(address("::ffff:192.0.2.1")));
        assert!((0..9).all(|_| Rates::new(0).allow(address("192.0.2.1"))));
    }
}
