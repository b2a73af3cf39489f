//! One connection: carries bytes between a socket and its session, and carries out the session's wishes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;

use super::auth;
use super::deposit::{Depositor, Sheet, told};
use super::metrics::{Counting, count};
use super::reply::{self, Reply};
use super::server::Shared;
use super::session::{Action, Letter, Protocol, Session, Stored};

/// A socket, or TLS over one.
pub trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

pub struct Conversation {
    pub shared: Arc<Shared>,
    pub session: Session,
    pub protocol: Protocol,
    pub wire: Box<dyn Wire>,
    /// Turns true when the service is to stop.
    pub stop: watch::Receiver<bool>,
    pub mail: Option<Running>,
}

/// A mail that is being read.
pub struct Running {
    /// Which one: what was written ahead of a mail that the client gave up must not become part of the next.
    serial: u64,
    since: Instant,
    /// Begun on disk, because it is large.
    ahead: Option<Ahead>,
}

struct Ahead {
    sheets: Vec<Sheet>,
    /// The first thing that failed. The mail is read to its end all the same.
    result: io::Result<()>,
}

/// Bytes of a mail that are kept in memory before they are written ahead.
const KEPT: usize = 256 << 10;

/// Bytes read from a socket at a time.
const PIECE: usize = 16 << 10;

impl Conversation {
    /// To its end. What a client does wrong ends its connection and nothing else.
    pub async fn run(mut self) {
        let mut out = Vec::with_capacity(512);
        self.session.greet(&mut out);
        if let Err(error) = self.talk(out).await {
            tracing::debug!(%error, client = ?self.session.client().address, "connection ended");
        }
        let _ = timeout(Duration::from_secs(1), self.wire.shutdown()).await;
    }

    async fn talk(&mut self, mut out: Vec<u8>) -> io::Result<()> {
        let mut input: Vec<u8> = Vec::new();
        loop {
            let (used, action) = {
                let judge = Counting { judge: &self.shared.policy, metrics: &self.shared.metrics };
                self.session.advance(&input, &judge, &mut out)
            };
            input.drain(..used);
            let next = match action {
                Action::Read => {
                    self.write_ahead().await;
                    self.send(&mut out).await?;
                    self.read(&mut input, &mut out).await?
                }
                Action::Deposit(letter) => {
                    let stored = self.deposit(*letter).await;
                    self.session.deposited(&stored, &mut out)
                }
                Action::StartTls => {
                    self.send(&mut out).await?;
                    input = Vec::new();
                    self.shake_hands().await?;
                    Action::Read
                }
                Action::Check { user, password } => {
                    let user = self.check(user, password).await;
                    self.session.authenticated(user, &mut out)
                }
                Action::Close => Action::Close,
            };
            if next == Action::Close {
                return self.send(&mut out).await;
            }
        }
    }

    async fn send(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        let idle = self.shared.config.smtp.idle_time;
        timeout(idle, async {
            self.wire.write_all(out).await?;
            self.wire.flush().await
        })
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        out.clear();
        Ok(())
    }

    /// Waits for bytes. Answers `Close` when there will be none.
    async fn read(&mut self, input: &mut Vec<u8>, out: &mut Vec<u8>) -> io::Result<Action> {
        if self.session.is_idle() {
            self.mail = None;
            if *self.stop.borrow() {
                reply::STOPPING.write(out);
                return Ok(Action::Close);
            }
        } else {
            self.running();
        }
        let (idle_time, mail_time) = {
            let smtp = &self.shared.config.smtp;
            (smtp.idle_time, smtp.mail_time)
        };
        let left = self.mail.as_ref().map_or(mail_time, |mail| mail_time.saturating_sub(mail.since.elapsed()));
        input.reserve(PIECE);
        let idle = self.session.is_idle();
        let read = timeout(idle_time.min(left), async {
            tokio::select! {
                read = self.wire.read_buf(input) => Some(read),
                // A mail that is under way is taken to its end.
                _ = self.stop.wait_for(|stop| *stop), if idle => None,
            }
        });
        match read.await {
            Ok(Some(Ok(0))) => Ok(Action::Close),
            Ok(Some(read)) => read.map(|_| Action::Read),
            Ok(None) => {
                reply::STOPPING.write(out);
                Ok(Action::Close)
            }
            Err(_) => {
                reply::TIME_OUT.write(out);
                Ok(Action::Close)
            }
        }
    }

    pub async fn shake_hands(&mut self) -> io::Result<()> {
        let Some(tls) = &self.shared.tls else { return Err(io::ErrorKind::Unsupported.into()) };
        let plain = std::mem::replace(&mut self.wire, Box::new(tokio::io::empty()));
        let shaken = timeout(self.shared.config.smtp.idle_time, tls.acceptor().accept(plain)).await;
        match shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(secure) => {
                self.wire = Box::new(secure);
                self.session.secured();
                Ok(())
            }
            Err(error) => {
                count(&self.shared.metrics.handshakes_failed);
                Err(error)
            }
        }
    }

    async fn check(&mut self, user: String, password: String) -> Option<String> {
        let shared = Arc::clone(&self.shared);
        // So many passwords are hashed at a time: each takes 19 MiB and tens of milliseconds.
        let permit = shared.passwords.acquire().await.ok()?;
        let shared = Arc::clone(&self.shared);
        let checked = tokio::task::spawn_blocking(move || {
            auth::verify(&shared.config.smtp.users, &user, &password).then_some(user)
        })
        .await;
        drop(permit);
        let user = checked.ok().flatten();
        if user.is_none() {
            let wrong = reply::AUTH_WRONG;
            self.shared.metrics.refuse(&wrong);
            tracing::info!(client = ?self.session.client().address, "authentication failed");
            // Guessing takes its time.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        user
    }

    fn trace(&self, utf8: bool) -> String {
        let shared = &self.shared;
        if !shared.config.smtp.received || self.protocol == Protocol::Lmtp {
            return String::new();
        }
        let date = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S +0000").to_string();
        Letter::trace(self.session.client(), self.protocol, &shared.host, &shared.depot.name(), utf8, &date)
    }

    /// Writes what was read of a large mail, so that it does not fill the memory.
    async fn write_ahead(&mut self) {
        if self.session.text_waiting() < KEPT {
            return;
        }
        let begun = self.running().ahead.take();
        let mut ahead = if let Some(ahead) = begun {
            ahead
        } else {
            let trace = self.trace(false);
            let Some((sender, recipients)) = self.session.envelope() else { return };
            Ahead { sheets: Depositor::sheets(sender, recipients, &trace), result: Ok(()) }
        };
        let text = self.session.take_text();
        if ahead.result.is_ok() {
            let depositor = self.shared.depositor.clone();
            let written = tokio::task::spawn_blocking(move || {
                ahead.result = depositor.write_ahead(&mut ahead.sheets, &text);
                ahead
            });
            let lost = |_| Ahead { sheets: Vec::new(), result: Err(io::Error::other("the writing thread has ended")) };
            ahead = written.await.unwrap_or_else(lost);
        }
        self.running().ahead = Some(ahead);
    }

    /// What is kept for the mail that is being read now.
    fn running(&mut self) -> &mut Running {
        let serial = self.session.serial();
        let same = self.mail.take().filter(|mail| mail.serial == serial);
        self.mail.insert(same.unwrap_or_else(|| Running { serial, since: Instant::now(), ahead: None }))
    }

    /// Makes the mail durable, and says so in the log under its id, by which `trace` finds the items.
    async fn deposit(&mut self, mut letter: Letter) -> Stored {
        let text = std::mem::take(&mut letter.text);
        let ahead = self.running().ahead.take();
        self.mail = None;
        let sheets = match ahead {
            Some(Ahead { result: Err(error), .. }) => return self.failed(&letter, &Err(error)),
            Some(Ahead { sheets, .. }) => sheets,
            None => Depositor::sheets(&letter.sender, &letter.recipients, &self.trace(letter.utf8)),
        };
        let begin = Instant::now();
        let done = self.shared.depositor.deposit(sheets, text).await;
        let elapsed = begin.elapsed();
        let metrics = &self.shared.metrics;
        metrics.deposit_us.fetch_add(u64::try_from(elapsed.as_micros()).unwrap_or_default(), Ordering::Relaxed);
        let Ok(placed) = &done else { return self.failed(&letter, &done) };
        count(&metrics.mails);
        metrics.bytes.fetch_add(letter.size, Ordering::Relaxed);
        let client = self.session.client();
        for file in placed {
            tracing::info!(
                mail_id = %file.mail_id,
                file = file.name,
                from = letter.sender,
                to = letter.to(),
                size = letter.size,
                client = client.address.map(|address| address.to_string()).unwrap_or_default(),
                helo = client.helo,
                tls = client.secure,
                user = client.user.as_deref().unwrap_or_default(),
                ms = elapsed.as_millis(),
                "accepted"
            );
        }
        told(&done)
    }

    fn failed(&self, letter: &Letter, done: &super::deposit::Done) -> Stored {
        count(&self.shared.metrics.not_stored);
        if let Err(error) = done {
            tracing::error!(%error, from = letter.sender, to = letter.to(), "a mail could not be stored; its sender was told to try again");
        }
        told(done)
    }
}

/// Says one thing to a client that is not let in.
pub async fn turn_away(mut wire: Box<dyn Wire>, reply: Reply) {
    let mut out = Vec::new();
    reply.write(&mut out);
    let said = async {
        wire.write_all(&out).await?;
        wire.shutdown().await
    };
    let _ = timeout(Duration::from_secs(2), said).await;
}
