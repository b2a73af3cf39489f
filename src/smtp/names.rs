//! The name of a machine, where it can be believed: its reverse name must lead back to its address. Asked only where a setting
//! names a domain.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;

pub struct Names {
    resolver: TokioResolver,
}

/// A client waits no longer for its greeting than this.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks these name servers, by UDP and what does not fit by TCP; where none are named, those of the system. Must be called inside an
/// asynchronous runtime.
pub fn resolver(named: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let servers = named.iter().map(|server| {
        let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
        connections.iter_mut().for_each(|connection| connection.port = server.port());
        NameServerConfig::new(server.ip(), true, connections)
    });
    let building = if named.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    building.build()
}

impl Names {
    /// None where name servers cannot be asked at all.
    pub fn new(named: &[SocketAddr]) -> Option<Self> {
        match resolver(named) {
            Ok(resolver) => Some(Self { resolver }),
            Err(error) => {
                tracing::error!(%error, "names of machines cannot be looked up; no machine matches a domain");
                None
            }
        }
    }

    /// The forward-confirmed reverse name.
    pub async fn confirmed(&self, address: IpAddr) -> Option<String> {
        tokio::time::timeout(PATIENCE, self.look_up(address)).await.ok().flatten()
    }

    async fn look_up(&self, address: IpAddr) -> Option<String> {
        let reverse = self.resolver.reverse_lookup(address).await.ok()?;
        let names = reverse.answers().iter().filter_map(|record| match &record.data {
            RData::PTR(name) => Some(name.to_string()),
            _ => None,
        });
        // A machine has one name or few; more is somebody's joke.
        for name in names.take(4) {
            let found = self.resolver.lookup_ip(name.as_str()).await;
            if found.is_ok_and(|found| found.iter().any(|ip| ip.to_canonical() == address.to_canonical())) {
                return Some(name);
            }
        }
        None
    }
}

#[cfg(test)]
#[path = "../../tests/common/dns.rs"]
mod dns;

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::RecordType;
    use hickory_resolver::proto::rr::rdata::{A, PTR};
    use hickory_resolver::proto::rr::{Name, RData};

    use super::dns::{Said, name_server};
    use super::*;

    /// Whoever has an address may give it any reverse name; only the name's own zone can confirm it.
    #[test]
    fn a_reverse_name_counts_when_it_leads_back() {
        let server = name_server(|name, kind| match (name, kind) {
            ("1.2.0.192.in-addr.arpa" | "2.2.0.192.in-addr.arpa", RecordType::PTR) => pointer("mx.good.example."),
            ("3.2.0.192.in-addr.arpa", RecordType::PTR) => Said::Broken,
            ("mx.good.example", RecordType::A) => Said::Records(vec![RData::A(A::new(192, 0, 2, 1))]),
            _ => Said::Nowhere,
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let confirmed = |last: u8| {
            runtime.block_on(async { Names::new(&[server]).unwrap().confirmed([192, 0, 2, last].into()).await })
        };
        let trimmed = |name: Option<String>| name.map(|name| name.trim_end_matches('.').to_owned());
        assert_eq!(trimmed(confirmed(1)).as_deref(), Some("mx.good.example"));
        assert_eq!(confirmed(2), None, "it says so of itself, and the name does not");
        assert_eq!(confirmed(3), None);
        assert_eq!(confirmed(4), None);
    }

    fn pointer(name: &str) -> Said {
        Said::Records(vec![RData::PTR(PTR(Name::from_ascii(name).unwrap()))])
    }
}
