//! Listens, lets in whom the limits allow, and stops when asked: what is under way is taken to its end, within `smtp.stop_time`.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdTcp};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener as StdUnix, UnixStream as StdUnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, mpsc, watch};

use super::conversation::{Conversation, Wire, turn_away};
use super::deposit::{Depositor, Engine};
use super::limits::{Connections, Counted};
use super::metrics::{self, Metrics, count};
use super::names::Names;
use super::policy::{Addresses, Policy};
use super::reply;
use super::session::{Client, Protocol, Rules, Session};
use super::tls::Tls;
use crate::config::{Config, host_name};
use crate::spool::Depot;

/// Why the service cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("{address}: {cause}; is another mail server running there? See `[smtp]` in the configuration")]
    Listen { address: String, cause: io::Error },
    #[error("{0}")]
    Tls(io::Error),
    #[error("metrics at {address}: {cause}")]
    Metrics { address: String, cause: io::Error },
    #[error("threads cannot be started: {0}")]
    Threads(io::Error),
}

/// What all connections share.
pub struct Shared {
    pub config: Arc<Config>,
    pub host: String,
    pub rules: Arc<Rules>,
    pub policy: Policy,
    pub depot: Arc<Depot>,
    pub depositor: Depositor,
    pub tls: Option<Tls>,
    pub metrics: Metrics,
    pub connections: Arc<Connections>,
    pub passwords: Semaphore,
    pub names: Option<Names>,
}

/// What is spoken at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Smtp,
    SmtpTls,
    Lmtp,
}

enum Listener {
    Tcp(StdTcp),
    Unix(StdUnix),
}

/// The running service.
pub struct Server {
    runtime: Option<Runtime>,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    /// Closed when the last connection has ended.
    ended: mpsc::Receiver<()>,
    /// Where it listens, for whoever wants to say so.
    pub places: Vec<String>,
}

/// Figures of somebody else's for the metrics.
pub type More = Arc<dyn Fn() -> String + Send + Sync>;

/// How often the room on the disk and the queue are looked at.
const LOOK: Duration = Duration::from_millis(500);
const RELEASE: Duration = Duration::from_secs(30);

impl Server {
    /// Binds everything before it answers: who starts us learns at once what cannot be had.
    pub fn start(
        config: &Arc<Config>,
        addresses: Addresses,
        depot: Arc<Depot>,
        engine: Option<Engine>,
        more: More,
    ) -> Result<Self, ServerError> {
        let smtp = &config.smtp;
        let listeners = listeners(config)?;
        let tls = (!smtp.certificate.as_os_str().is_empty())
            .then(|| Tls::open(&smtp.certificate, &smtp.key))
            .transpose()
            .map_err(ServerError::Tls)?;
        let host = if smtp.host_name.is_empty() { host_name() } else { smtp.host_name.clone() };
        let rules = Arc::new(rules(config, &host));
        let policy = Policy::new(Arc::clone(config), addresses);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name("smtp")
            .enable_all()
            .build()
            .map_err(ServerError::Threads)?;
        let names = policy
            .needs_names()
            .then(|| runtime.block_on(async { Names::new(&config.incoming.name_servers) }))
            .flatten();
        let shared = Arc::new(Shared {
            connections: Connections::new(smtp.connections, smtp.connections_per_address),
            depositor: Depositor::start(Arc::clone(&depot), engine).map_err(ServerError::Threads)?,
            metrics: Metrics::default(),
            passwords: Semaphore::new(2),
            config: Arc::clone(config),
            host,
            rules,
            policy,
            depot,
            tls,
            names,
        });
        serve_metrics(&shared, more)?;
        look_around(&shared).map_err(ServerError::Threads)?;
        let (stop, stopping) = watch::channel(false);
        let (alive, ended) = mpsc::channel(1);
        let places = listeners.iter().map(|(_, place, _)| place.clone()).collect();
        let inside = runtime.enter();
        for (door, address, listener) in listeners {
            let hall = Hall { shared: Arc::clone(&shared), door, stop: stopping.clone(), alive: alive.clone() };
            let opened = match listener {
                Listener::Tcp(listener) => TcpListener::from_std(listener).map(|listener| {
                    runtime.spawn(hall.tcp(listener));
                }),
                Listener::Unix(listener) => UnixListener::from_std(listener).map(|listener| {
                    runtime.spawn(hall.unix(listener));
                }),
            };
            opened.map_err(|cause| ServerError::Listen { address, cause })?;
        }
        drop(inside);
        Ok(Self { runtime: Some(runtime), shared, stop, ended, places })
    }

    /// Takes no more connections, ends the idle ones, and waits for mail that is under way.
    pub fn stop(mut self) {
        let _ = self.stop.send(true);
        let patience = self.shared.config.smtp.stop_time;
        if let Some(runtime) = self.runtime.take() {
            runtime.block_on(async {
                let _ = tokio::time::timeout(patience, self.ended.recv()).await;
            });
            runtime.shutdown_timeout(Duration::from_millis(100));
        }
    }
}

fn rules(config: &Config, host: &str) -> Rules {
    let smtp = &config.smtp;
    Rules {
        host: host.to_owned(),
        max_size: smtp.max_size.min(config.limits.mail_bytes),
        recipients: smtp.recipients,
        line: smtp.line_length,
        errors: smtp.errors,
        commands: smtp.commands,
        offers_tls: !smtp.certificate.as_os_str().is_empty(),
        require_tls: smtp.require_tls,
        offers_auth: !smtp.users.is_empty(),
        require_auth: smtp.authenticated_only,
    }
}

fn serve_metrics(shared: &Arc<Shared>, more: More) -> Result<(), ServerError> {
    let address = shared.config.smtp.metrics.clone();
    if address.is_empty() {
        return Ok(());
    }
    let looked = Arc::downgrade(shared);
    let text = move || {
        looked.upgrade().map_or_else(String::new, |shared| shared.metrics.text(shared.connections.open(), &more()))
    };
    metrics::serve(&address, Arc::new(text)).map_err(|cause| ServerError::Metrics { address, cause })
}

/// Looks how much room there is, and whether queued mail may move on.
fn look_around(shared: &Arc<Shared>) -> io::Result<()> {
    let looked = Arc::downgrade(shared);
    let look = move || {
        let mut since = RELEASE;
        while let Some(shared) = looked.upgrade() {
            if let Ok(room) = shared.depot.room() {
                shared.policy.room.store(room, Ordering::Relaxed);
            }
            if since >= RELEASE {
                since = Duration::ZERO;
                match shared.depot.release(&|domain| shared.policy.is_ours(domain)) {
                    Ok(0) => {}
                    Ok(moved) => {
                        tracing::info!(moved, "queued mail whose domain is ours by now goes to the drop folder");
                    }
                    Err(error) => tracing::error!(%error, "queued mail cannot be moved to the drop folder"),
                }
            }
            drop(shared);
            std::thread::sleep(LOOK);
            since += LOOK;
        }
    };
    std::thread::Builder::new().name("room".to_owned()).spawn(look).map(drop)
}

// where we listen

/// What a service manager holds open for us (`sd_listen_fds(3)`), else what the configuration names.
fn listeners(config: &Config) -> Result<Vec<(Door, String, Listener)>, ServerError> {
    let handed = handed_over();
    if !handed.is_empty() {
        return Ok(handed);
    }
    let smtp = &config.smtp;
    let mut all = Vec::new();
    let doors = [(Door::Smtp, &smtp.listen), (Door::SmtpTls, &smtp.listen_tls), (Door::Lmtp, &smtp.lmtp)];
    for (door, addresses) in doors {
        for address in addresses {
            let listen = |cause| ServerError::Listen { address: address.clone(), cause };
            let listener = bind(address).map_err(listen)?;
            let place = match &listener {
                Listener::Tcp(tcp) => tcp.local_addr().map_err(listen)?.to_string(),
                Listener::Unix(_) => address.clone(),
            };
            all.push((door, place, listener));
        }
    }
    Ok(all)
}

fn handed_over() -> Vec<(Door, String, Listener)> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut handed = listenfd::ListenFd::from_env();
    let mut all = Vec::new();
    for at in 0..handed.len() {
        let name = names.next().unwrap_or_default().to_owned();
        let door = match name.as_str() {
            "lmtp" => Door::Lmtp,
            "smtps" | "submissions" => Door::SmtpTls,
            _ => Door::Smtp,
        };
        if let Ok(Some(tcp)) = handed.take_tcp_listener(at) {
            if tcp.set_nonblocking(true).is_ok() {
                all.push((door, name, Listener::Tcp(tcp)));
            }
        } else if let Ok(Some(unix)) = handed.take_unix_listener(at)
            && unix.set_nonblocking(true).is_ok()
        {
            all.push((Door::Lmtp, name, Listener::Unix(unix)));
        }
    }
    all
}

fn bind(address: &str) -> io::Result<Listener> {
    if address.contains('/') {
        return bind_unix(Path::new(address)).map(Listener::Unix);
    }
    let listener = StdTcp::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(Listener::Tcp(listener))
}

/// A socket that nobody answers at is left over from a process that is gone.
#[allow(clippy::disallowed_methods)] // our own socket
fn bind_unix(path: &Path) -> io::Result<StdUnix> {
    let listener = match StdUnix::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && StdUnixStream::connect(path).is_err() => {
            std::fs::remove_file(path)?;
            StdUnix::bind(path)?
        }
        bound => bound?,
    };
    // Who may reach the folder may send mail, as with every LMTP socket; a mail server runs as somebody else.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// One place where we listen.
struct Hall {
    shared: Arc<Shared>,
    door: Door,
    stop: watch::Receiver<bool>,
    alive: mpsc::Sender<()>,
}

/// So long we wait when the system has no connection to give (too many open files).
const PAUSE: Duration = Duration::from_millis(100);

impl Hall {
    async fn tcp(self, listener: TcpListener) {
        let mut stop = self.stop.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            match accepted {
                Ok((stream, from)) => {
                    // Replies are short and wanted at once.
                    let _ = stream.set_nodelay(true);
                    self.let_in(Box::new(stream), Some(from));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn unix(self, listener: UnixListener) {
        let mut stop = self.stop.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            match accepted {
                Ok((stream, _)) => self.let_in(Box::new(stream), None),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn let_in(&self, wire: Box<dyn Wire>, from: Option<SocketAddr>) {
        let (shared, door, stop, alive) = (Arc::clone(&self.shared), self.door, self.stop.clone(), self.alive.clone());
        let address = from.map(|from| from.ip().to_canonical());
        let counted = shared.connections.count(address);
        tokio::spawn(async move {
            // Held to the end: whoever stops us waits for it.
            let _alive = alive;
            let Some(counted) = counted else {
                count(&shared.metrics.connections_refused);
                return turn_away(wire, reply::TOO_MANY_CONNECTIONS).await;
            };
            if !shared.config.incoming.enabled {
                return turn_away(wire, reply::SWITCHED_OFF).await;
            }
            count(&shared.metrics.connections);
            receive(shared, door, stop, wire, address, counted).await;
        });
    }
}

async fn receive(
    shared: Arc<Shared>,
    door: Door,
    stop: watch::Receiver<bool>,
    wire: Box<dyn Wire>,
    address: Option<IpAddr>,
    counted: Counted,
) {
    let name = match (&shared.names, address) {
        (Some(names), Some(address)) => names.confirmed(address).await,
        _ => None,
    };
    let protocol = if door == Door::Lmtp { Protocol::Lmtp } else { Protocol::Smtp };
    let client = Client { address, name, ..Client::default() };
    let session = Session::new(Arc::clone(&shared.rules), protocol, client);
    let mut conversation = Conversation { shared, session, protocol, wire, stop, mail: None };
    if door == Door::SmtpTls && conversation.shake_hands().await.is_err() {
        return;
    }
    conversation.run().await;
    drop(counted);
}
