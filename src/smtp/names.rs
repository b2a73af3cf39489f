//! The name of a machine, where it can be believed: its reverse name must lead back to its address. Asked only where a setting
//! names a domain.

use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RData;

pub struct Names {
    resolver: TokioResolver,
}

/// A client waits no longer for its greeting than this.
const PATIENCE: Duration = Duration::from_secs(5);

impl Names {
    /// As the system's resolver is configured; none where it is not.
    pub fn new() -> Option<Self> {
        let built = TokioResolver::builder_tokio().and_then(hickory_resolver::ResolverBuilder::build);
        match built {
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
