//! Asks the name servers of the system for the keys of DKIM signatures.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData};
use tokio::runtime::Runtime;

use crate::engine::{Found, KeyResolver};
use crate::smtp::names;

/// A name is given up after so long, whatever the resolver's own settings are.
const PATIENCE: Duration = Duration::from_secs(10);
/// A name that holds nothing is asked for again after so long, where its zone does not say.
const NOTHING: Duration = Duration::from_mins(5);

/// Name servers, or why they cannot be asked.
pub struct NameServers(Result<Asking, String>);

struct Asking {
    resolver: TokioResolver,
    /// None once it is shut down.
    runtime: Option<Runtime>,
}

impl NameServers {
    /// These, or where none are named those of the system.
    pub fn new(named: &[SocketAddr]) -> Self {
        let begun = Asking::begin(named);
        if let Err(why) = &begun {
            tracing::error!(%why, "name servers cannot be asked; keys of signatures are unavailable");
        }
        Self(begun)
    }
}

impl Asking {
    fn begin(named: &[SocketAddr]) -> Result<Self, String> {
        let mut building = tokio::runtime::Builder::new_multi_thread();
        let runtime = building.worker_threads(1).thread_name("name-servers").enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let resolver = {
            let _inside = runtime.enter();
            names::resolver(named)
        };
        Ok(Self { resolver: resolver.map_err(|error| error.to_string())?, runtime: Some(runtime) })
    }
}

impl KeyResolver for NameServers {
    fn look_up(&self, name: &str, answer: Box<dyn FnOnce(Found) + Send>) {
        match &self.0 {
            Ok(Asking { resolver, runtime: Some(runtime) }) => {
                let (resolver, name) = (resolver.clone(), name.to_owned());
                runtime.spawn(async move {
                    let found = tokio::time::timeout(PATIENCE, ask(&resolver, &name)).await;
                    let late = |_| Found::Failed(format!("no answer within {} s", PATIENCE.as_secs()));
                    answer(found.unwrap_or_else(late));
                });
            }
            Ok(_) => answer(Found::Failed("the program ends".to_owned())),
            Err(why) => answer(Found::Failed(why.clone())),
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn ask(resolver: &TokioResolver, name: &str) -> Found {
    let Ok(name) = Name::from_str_relaxed::<&str>(name) else { return Found::Nothing { valid: NOTHING } };
    match resolver.txt_lookup(name).await {
        Ok(answer) => {
            let records = answer.answers().iter().filter_map(|record| match &record.data {
                RData::TXT(text) => Some(text.txt_data.iter().flat_map(|string| string.iter().copied()).collect()),
                _ => None,
            });
            let records = records.collect();
            Found::Records { records, valid: answer.valid_until().saturating_duration_since(Instant::now()) }
        }
        Err(error) => of_error(&error),
    }
}

/// Nothing there, or nobody who could say (SERVFAIL, a time-out): only the first is an answer.
fn of_error(error: &NetError) -> Found {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(said))
            if matches!(said.response_code, ResponseCode::NXDomain | ResponseCode::NoError) =>
        {
            let valid = said.negative_ttl.map_or(NOTHING, |seconds| Duration::from_secs(seconds.into()));
            Found::Nothing { valid }
        }
        error => Found::Failed(error.to_string()),
    }
}
