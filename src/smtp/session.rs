//! One conversation in ESMTP (RFC 5321) or LMTP (RFC 2033), as a pure state machine: bytes in, replies and wishes out. It
//! reads no socket, no file and no clock, and never says 250 to a mail before its caller has said that the mail is durable.
//!
//! ```text
//!            EHLO         MAIL          RCPT            DATA / BDAT            end of data
//! greeting ------> ready -----> sender -----> recipients ----------> reading -------------> Action::Deposit
//!                    ^                                                                            |
//!                    +------------------------------- deposited(..) <-----------------------------+
//! ```
//!
//! While a wish is open (a deposit, a password to check, a TLS handshake) no byte is read: what a client sent ahead waits.

mod hello;

mod letter;

mod password;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use smtp_proto::Request;

use super::data::DataReader;
use super::reply::{self, Reply};

pub use letter::{Letter, Place, Recipient, Stored};

/// What the machine has to know of the settings.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Our name in the greeting.
    pub host: String,
    pub max_size: u64,
    pub recipients: usize,
    /// Bytes of a command line, CRLF included.
    pub line: usize,
    /// Failed commands before the connection is closed.
    pub errors: u32,
    /// Commands between two mails.
    pub commands: u32,
    pub offers_tls: bool,
    pub require_tls: bool,
    pub offers_auth: bool,
    pub require_auth: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Smtp,
    Lmtp,
}

/// Who is at the other end.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// None: a unix socket of this machine.
    pub address: Option<IpAddr>,
    /// Its reverse name, where that was looked up and leads back to the address.
    pub name: Option<String>,
    /// What it says of itself.
    pub helo: String,
    pub user: Option<String>,
    pub secure: bool,
}

/// Decides about senders and recipients. Asked at once, so it must know the addresses without waiting for anything.
pub trait Judge {
    /// At MAIL. `size` is what the client declares, 0 if it does not.
    fn sender(&self, client: &Client, sender: &str, size: u64) -> Result<(), Reply>;
    /// At RCPT: the recipient to write down and where the mail goes.
    fn recipient(&self, client: &Client, sender: &str, size: u64, recipient: &str) -> Result<Recipient, Reply>;
}

/// What the caller has to do before it calls again. Replies are to be sent in any case.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Read more bytes. All that was given is used but for an unfinished line.
    Read,
    /// Make the mail durable, then call `deposited`.
    Deposit(Box<Letter>),
    /// Send the reply, drop all bytes read so far, shake hands, then call `secured`.
    StartTls,
    /// Check the password, then call `authenticated`.
    Check {
        user: String,
        password: String,
    },
    Close,
}

#[derive(Debug)]
enum State {
    Command,
    /// The rest of a line that is too long.
    LongLine,
    Data(DataReader),
    Chunk {
        left: u64,
        last: bool,
        answer: Option<Reply>,
    },
    Auth(password::Dialogue),
    /// A wish of ours is open.
    Waiting(Wish),
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Deposit,
    Tls,
    Password,
}

#[derive(Debug)]
pub struct Session {
    rules: Arc<Rules>,
    protocol: Protocol,
    client: Client,
    extended: bool,
    greeted: bool,
    state: State,
    mail: Option<letter::Draft>,
    /// Numbers the mails of this conversation.
    serial: u64,
    /// Recipients of the mail that is being stored.
    answers: usize,
    errors: u32,
    commands: u32,
}

impl Session {
    pub fn new(rules: Arc<Rules>, protocol: Protocol, client: Client) -> Self {
        Self {
            rules,
            protocol,
            client,
            extended: false,
            greeted: false,
            state: State::Command,
            mail: None,
            serial: 0,
            answers: 0,
            errors: 0,
            commands: 0,
        }
    }

    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Tells the mail under way, or the last one, from those before it.
    pub const fn serial(&self) -> u64 {
        self.serial
    }

    /// Nothing would be lost if the connection were closed now: no mail is being read or stored.
    pub const fn is_idle(&self) -> bool {
        matches!(self.state, State::Command | State::LongLine | State::Auth(_) | State::Closed) && self.mail.is_none()
    }

    /// Reads what it can: how many bytes were used, and what is to be done next.
    pub fn advance(&mut self, input: &[u8], judge: &dyn Judge, out: &mut Vec<u8>) -> (usize, Action) {
        let mut used = 0;
        loop {
            let rest = input.get(used..).unwrap_or_default();
            let (took, action) = match &mut self.state {
                State::Command | State::Auth(_) => match self.next_line(rest, out) {
                    Line::Whole(line) => {
                        let action = self.line(rest.get(..line).unwrap_or_default(), judge, out);
                        // Whatever was sent ahead of the handshake came unprotected (RFC 3207 section 4.2).
                        let took = if action == Some(Action::StartTls) { rest.len() } else { line };
                        (took, action)
                    }
                    Line::Bad(line) => (line, self.close_after_errors(out)),
                    Line::Unfinished => return (used, Action::Read),
                },
                State::LongLine => match memchr::memchr(b'\n', rest) {
                    Some(end) => {
                        self.state = State::Command;
                        (end + 1, None)
                    }
                    None => return (input.len(), Action::Read),
                },
                State::Data(_) => {
                    let (took, action) = self.data(rest, out);
                    if action.is_none() && matches!(self.state, State::Data(_)) {
                        return (used + took, Action::Read);
                    }
                    (took, action)
                }
                State::Chunk { .. } => {
                    let (took, action) = self.chunk(rest, out);
                    if action.is_none() && matches!(self.state, State::Chunk { .. }) {
                        return (used + took, Action::Read);
                    }
                    (took, action)
                }
                State::Waiting(_) => return (used, Action::Read),
                State::Closed => return (input.len(), Action::Close),
            };
            used += took;
            if let Some(action) = action {
                return (used, action);
            }
        }
    }

    /// Finds the next line. One that is no line is answered here.
    fn next_line(&mut self, rest: &[u8], out: &mut Vec<u8>) -> Line {
        let within = rest.get(..self.rules.line).unwrap_or(rest);
        let Some(end) = memchr::memchr(b'\n', within) else {
            if rest.len() < self.rules.line {
                return Line::Unfinished;
            }
            self.state = State::LongLine;
            return self.bad(0, &reply::TOO_LONG, out);
        };
        let line = rest.get(..=end).unwrap_or_default();
        let text = line.strip_suffix(b"\r\n");
        if text.is_none_or(|text| text.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t')) {
            self.state = State::Command;
            return self.bad(end + 1, &reply::NOT_CRLF, out);
        }
        if std::str::from_utf8(line).is_err() {
            self.state = State::Command;
            return self.bad(end + 1, &reply::NOT_UTF8, out);
        }
        Line::Whole(end + 1)
    }

    fn bad(&mut self, used: usize, reply: &Reply, out: &mut Vec<u8>) -> Line {
        self.say(reply, out);
        Line::Bad(used)
    }

    fn line(&mut self, line: &[u8], judge: &dyn Judge, out: &mut Vec<u8>) -> Option<Action> {
        if matches!(self.state, State::Auth(_)) {
            return self.auth_line(line, out);
        }
        self.commands += 1;
        if self.commands > self.rules.commands {
            return Some(self.close(&reply::TOO_MANY_COMMANDS, out));
        }
        let request = match Request::parse(&mut line.iter()) {
            Ok(request) => request,
            Err(error) => {
                self.say(&refusal(&error), out);
                return self.close_after_errors(out);
            }
        };
        let action = self.request(request, line, judge, out);
        action.or_else(|| self.close_after_errors(out))
    }

    fn request(
        &mut self,
        request: Request<std::borrow::Cow<'_, str>>,
        line: &[u8],
        judge: &dyn Judge,
        out: &mut Vec<u8>,
    ) -> Option<Action> {
        match request {
            Request::Ehlo { host } if self.protocol == Protocol::Smtp => self.hello(&host, true, out),
            Request::Lhlo { host } if self.protocol == Protocol::Lmtp => self.hello(&host, true, out),
            Request::Helo { host } if self.protocol == Protocol::Smtp => self.hello(&host, false, out),
            Request::Ehlo { .. } | Request::Lhlo { .. } | Request::Helo { .. } => self.say(&reply::UNKNOWN, out),
            Request::Quit => return Some(self.close(&reply::BYE, out)),
            Request::Noop { .. } => self.say(&reply::OK, out),
            Request::Help { .. } => self.say(&reply::HELP, out),
            Request::Vrfy { .. } | Request::Expn { .. } => self.say(&reply::CANNOT_VERIFY, out),
            Request::Rset => {
                self.mail = None;
                self.say(&reply::OK, out);
            }
            Request::StartTls => return self.start_tls(out),
            Request::Auth { mechanism, initial_response } => return self.auth(mechanism, &initial_response, out),
            Request::Mail { from } => self.mail_from(&from, judge, out),
            Request::Rcpt { to } => self.rcpt_to(&to.address, line, judge, out),
            Request::Data => self.start_data(out),
            Request::Bdat { chunk_size, is_last } => return self.start_chunk(chunk_size, is_last, out),
            Request::Etrn { .. } | Request::Atrn { .. } | Request::Burl { .. } => self.say(&reply::NOT_OFFERED, out),
        }
        None
    }

    fn start_tls(&mut self, out: &mut Vec<u8>) -> Option<Action> {
        if self.client.secure {
            self.say(&reply::TLS_ALREADY, out);
            return None;
        }
        if !self.rules.offers_tls {
            self.say(&reply::NOT_OFFERED, out);
            return None;
        }
        self.say(&reply::READY_FOR_TLS, out);
        self.state = State::Waiting(Wish::Tls);
        Some(Action::StartTls)
    }

    /// The handshake succeeded. All that was said before is forgotten (RFC 3207 section 4.2).
    pub fn secured(&mut self) {
        self.client.secure = true;
        self.client.helo.clear();
        self.client.user = None;
        self.greeted = false;
        self.mail = None;
        if !matches!(self.state, State::Closed) {
            self.state = State::Command;
        }
    }

    /// Answers, and counts what went wrong.
    fn say(&mut self, reply: &Reply, out: &mut Vec<u8>) {
        if reply.is_error() {
            self.errors += 1;
        }
        reply.write(out);
    }

    fn close(&mut self, reply: &Reply, out: &mut Vec<u8>) -> Action {
        reply.write(out);
        self.mail = None;
        self.state = State::Closed;
        Action::Close
    }

    /// Closes when too much went wrong.
    fn close_after_errors(&mut self, out: &mut Vec<u8>) -> Option<Action> {
        (self.errors > self.rules.errors).then(|| self.close(&reply::TOO_MANY_ERRORS, out))
    }
}

enum Line {
    /// With its CRLF.
    Whole(usize),
    /// It was answered.
    Bad(usize),
    Unfinished,
}

fn refusal(error: &smtp_proto::Error) -> Reply {
    use smtp_proto::Error;
    match error {
        Error::InvalidSenderAddress => reply::BAD_SENDER,
        Error::InvalidRecipientAddress => reply::BAD_RECIPIENT,
        Error::SyntaxError { syntax } => Reply::new(501, "5.5.2", syntax),
        Error::InvalidParameter { .. } => reply::BAD_PARAMETER,
        Error::UnsupportedParameter { .. } => reply::UNKNOWN_PARAMETER,
        Error::ResponseTooLong => reply::TOO_LONG,
        Error::UnknownCommand | Error::NeedsMoreData { .. } | Error::InvalidResponse { .. } => reply::UNKNOWN,
    }
}
