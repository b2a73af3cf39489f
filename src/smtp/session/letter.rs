//! A mail on its way through a session: MAIL, RCPT, DATA and BDAT, and the answer when it is durable or not.

use std::borrow::Cow;

use smtp_proto::{MAIL_BODY_BINARYMIME, MAIL_REQUIRETLS, MAIL_SMTPUTF8, MailFrom};

use super::{Action, Client, Judge, Protocol, Session, State, Wish};
use crate::smtp::address;
use crate::smtp::data::{DataReader, Fault};
use crate::smtp::reply::{self, Reply};

/// Where the mail to a recipient goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Drop,
    /// Waits until this domain is ours.
    Queue {
        domain: String,
    },
}

/// A recipient that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    pub address: String,
    pub place: Place,
}

/// A mail to be made durable. Its text is what the caller has not taken yet with `take_text`.
#[derive(Debug, PartialEq, Eq)]
pub struct Letter {
    pub sender: String,
    pub recipients: Vec<Recipient>,
    pub text: Vec<u8>,
    /// Bytes of the whole text.
    pub size: u64,
    pub utf8: bool,
}

/// What came of a deposit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It survives a power loss, under this id.
    Durable {
        id: String,
    },
    Full,
    Failed,
}

/// A mail under way.
#[derive(Debug)]
pub(super) struct Draft {
    sender: String,
    declared: u64,
    utf8: bool,
    recipients: Vec<Recipient>,
    /// A recipient was refused: an empty envelope has a reason.
    refused: bool,
    text: Vec<u8>,
    chunks: Option<DataReader>,
}

impl Session {
    pub(super) fn mail_from(&mut self, from: &MailFrom<Cow<'_, str>>, judge: &dyn Judge, out: &mut Vec<u8>) {
        let reply = match self.try_mail_from(from, judge) {
            Ok(draft) => {
                self.mail = Some(draft);
                self.serial += 1;
                reply::SENDER_OK
            }
            Err(reply) => reply,
        };
        self.say(&reply, out);
    }

    fn try_mail_from(&self, from: &MailFrom<Cow<'_, str>>, judge: &dyn Judge) -> Result<Draft, Reply> {
        if !self.greeted {
            return Err(if self.protocol == Protocol::Lmtp { reply::LHLO_FIRST } else { reply::HELLO_FIRST });
        }
        if self.mail.is_some() {
            return Err(reply::MAIL_ALREADY);
        }
        if self.rules.require_tls && !self.client.secure {
            return Err(reply::TLS_FIRST);
        }
        if self.rules.require_auth && self.client.user.is_none() {
            return Err(reply::AUTH_FIRST);
        }
        if from.flags & (MAIL_BODY_BINARYMIME | MAIL_REQUIRETLS) != 0 {
            return Err(reply::UNKNOWN_PARAMETER);
        }
        let utf8 = from.flags & MAIL_SMTPUTF8 != 0;
        let sender = checked(&from.address, utf8, reply::BAD_SENDER)?;
        let declared = from.size as u64;
        if declared > self.rules.max_size {
            return Err(reply::TOO_LARGE);
        }
        judge.sender(&self.client, sender, declared)?;
        let sender = sender.to_owned();
        Ok(Draft { sender, declared, utf8, recipients: Vec::new(), refused: false, text: Vec::new(), chunks: None })
    }

    pub(super) fn rcpt_to(&mut self, given: &str, line: &[u8], judge: &dyn Judge, out: &mut Vec<u8>) {
        let reply = match self.try_rcpt_to(given, line, judge) {
            Ok(()) => reply::RECIPIENT_OK,
            Err(reply) => {
                if let Some(mail) = &mut self.mail {
                    mail.refused = true;
                }
                reply
            }
        };
        self.say(&reply, out);
    }

    fn try_rcpt_to(&mut self, given: &str, line: &[u8], judge: &dyn Judge) -> Result<(), Reply> {
        let Some(mail) = &mut self.mail else { return Err(reply::MAIL_FIRST) };
        if mail.chunks.is_some() {
            return Err(reply::IN_CHUNKS);
        }
        // The parser answers an empty address both to `<>` and to `<postmaster>`, which every server knows (RFC 5321 section 4.5.1).
        let given = if given.is_empty() && names_postmaster(line) { "postmaster" } else { given };
        let given = checked(given, mail.utf8, reply::BAD_RECIPIENT)?;
        if given.is_empty() {
            return Err(reply::BAD_RECIPIENT);
        }
        if mail.recipients.len() >= self.rules.recipients {
            return Err(reply::TOO_MANY_RECIPIENTS);
        }
        let recipient = judge.recipient(&self.client, &mail.sender, mail.declared, given)?;
        mail.recipients.push(recipient);
        Ok(())
    }

    pub(super) fn start_data(&mut self, out: &mut Vec<u8>) {
        let reply = match &self.mail {
            None => reply::MAIL_FIRST,
            Some(mail) if mail.chunks.is_some() => reply::IN_CHUNKS,
            Some(mail) if mail.recipients.is_empty() && !mail.refused => reply::MAIL_FIRST,
            Some(mail) if mail.recipients.is_empty() => reply::NO_RECIPIENTS,
            Some(_) => {
                self.state = State::Data(DataReader::new(self.rules.max_size));
                reply::SEND_DATA
            }
        };
        self.say(&reply, out);
    }

    pub(super) fn data(&mut self, rest: &[u8], out: &mut Vec<u8>) -> (usize, Option<Action>) {
        let (State::Data(reader), Some(mail)) = (&mut self.state, &mut self.mail) else {
            self.state = State::Command;
            return (0, None);
        };
        let (used, is_end) = reader.read(rest, &mut mail.text);
        if !is_end {
            return (used, None);
        }
        let (fault, size) = (reader.fault(), reader.size());
        self.state = State::Command;
        (used, self.end_of_mail(fault, size, out))
    }

    /// All of the mail was read.
    fn end_of_mail(&mut self, fault: Option<Fault>, size: u64, out: &mut Vec<u8>) -> Option<Action> {
        self.commands = 0;
        let mail = self.mail.take()?;
        match fault {
            // What follows such a mail may be meant for another reader than us.
            Some(Fault::BareLineEnd) => Some(self.close(&reply::BARE_LINE_END, out)),
            Some(Fault::TooLarge) => {
                self.say_to_each(mail.recipients.len(), &reply::TOO_LARGE, out);
                self.close_after_errors(out)
            }
            None => {
                self.state = State::Waiting(Wish::Deposit);
                let Draft { sender, recipients, text, utf8, .. } = mail;
                self.answers = recipients.len();
                Some(Action::Deposit(Box::new(Letter { sender, recipients, text, size, utf8 })))
            }
        }
    }

    /// Answers the mail of the last `Action::Deposit`: the only place where a mail is accepted.
    pub fn deposited(&mut self, stored: &Stored, out: &mut Vec<u8>) -> Action {
        if !matches!(self.state, State::Waiting(Wish::Deposit)) {
            return Action::Read;
        }
        self.state = State::Command;
        let reply = match stored {
            Stored::Durable { id } => Reply::said(250, "2.6.0", format!("{id} is durable")),
            Stored::Full => reply::DISK_FULL,
            Stored::Failed => reply::NOT_STORED,
        };
        self.say_to_each(self.answers, &reply, out);
        self.close_after_errors(out).unwrap_or(Action::Read)
    }

    /// LMTP answers each recipient (RFC 2033 section 4.2), SMTP the mail.
    fn say_to_each(&mut self, recipients: usize, reply: &Reply, out: &mut Vec<u8>) {
        self.say(reply, out);
        if self.protocol == Protocol::Lmtp {
            (1..recipients).for_each(|_| reply.write(out));
        }
    }

    /// What was read of the current mail and may be written away. Bounds what a large mail takes of memory.
    pub fn take_text(&mut self) -> Vec<u8> {
        self.mail.as_mut().map(|mail| std::mem::take(&mut mail.text)).unwrap_or_default()
    }

    /// Bytes that `take_text` would answer.
    pub fn text_waiting(&self) -> usize {
        self.mail.as_ref().map_or(0, |mail| mail.text.len())
    }

    /// The envelope of the mail that is being read.
    pub fn envelope(&self) -> Option<(&str, &[Recipient])> {
        self.mail.as_ref().map(|mail| (mail.sender.as_str(), mail.recipients.as_slice()))
    }
}

// chunks

/// A chunk that nobody takes is read over up to this size; a client that announces more is sent away.
const READ_OVER: u64 = 1 << 30;

impl Session {
    /// BDAT (RFC 3030): so many bytes follow, whatever we think of it.
    pub(super) fn start_chunk(&mut self, size: usize, last: bool, out: &mut Vec<u8>) -> Option<Action> {
        let left = size as u64;
        let answer = match &mut self.mail {
            None => Some(reply::MAIL_FIRST),
            Some(mail) if mail.recipients.is_empty() => Some(reply::NO_RECIPIENTS),
            Some(mail) => {
                mail.chunks.get_or_insert_with(|| DataReader::new(self.rules.max_size));
                None
            }
        };
        if left > READ_OVER.max(self.rules.max_size) {
            return Some(self.close(&reply::TOO_LARGE, out));
        }
        self.state = State::Chunk { left, last, answer };
        None
    }

    pub(super) fn chunk(&mut self, rest: &[u8], out: &mut Vec<u8>) -> (usize, Option<Action>) {
        let State::Chunk { left, last, answer } = &mut self.state else { return (0, None) };
        let used = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
        let reader = self.mail.as_mut().filter(|_| answer.is_none()).and_then(|mail| {
            let Draft { chunks, text, .. } = mail;
            chunks.as_mut().map(|reader| (reader, text))
        });
        if let Some((reader, text)) = reader {
            reader.take(rest.get(..used).unwrap_or_default(), text);
        }
        *left -= used as u64;
        if *left > 0 {
            return (used, None);
        }
        let (last, answer) = (*last, answer.take());
        self.state = State::Command;
        (used, self.end_of_chunk(last, answer, out))
    }

    fn end_of_chunk(&mut self, last: bool, answer: Option<Reply>, out: &mut Vec<u8>) -> Option<Action> {
        if let Some(answer) = answer {
            self.mail = None;
            self.say(&answer, out);
            return self.close_after_errors(out);
        }
        let reader = self.mail.as_mut().and_then(|mail| mail.chunks.as_mut())?;
        if last {
            reader.finish_chunks();
        }
        let (fault, size) = (reader.fault(), reader.size());
        if last || fault == Some(Fault::BareLineEnd) {
            return self.end_of_mail(fault, size, out);
        }
        if fault == Some(Fault::TooLarge) {
            // One answer a chunk, also in LMTP: the recipients are answered after the last one (RFC 3030 section 4.3).
            self.mail = None;
            self.say(&reply::TOO_LARGE, out);
            return self.close_after_errors(out);
        }
        self.say(&reply::OK, out);
        None
    }
}

fn checked(given: &str, utf8: bool, bad: Reply) -> Result<&str, Reply> {
    if !address::is_sound(given) {
        return Err(bad);
    }
    if !utf8 && !given.is_ascii() {
        return Err(reply::NOT_SMTPUTF8);
    }
    Ok(given)
}

fn names_postmaster(line: &[u8]) -> bool {
    line.to_ascii_lowercase().windows(12).any(|window| window == b"<postmaster>")
}

impl Letter {
    /// The `Received` field (RFC 5321 section 4.4): who gave us the mail, by which protocol, and when.
    pub fn trace(client: &Client, protocol: Protocol, host: &str, id: &str, utf8: bool, date: &str) -> String {
        let from = client.address.map_or_else(
            || "local".to_owned(),
            |address| match address {
                std::net::IpAddr::V6(address) => format!("[IPv6:{address}]"),
                std::net::IpAddr::V4(address) => format!("[{address}]"),
            },
        );
        let name = client.name.as_deref().map(|name| format!("{name} ")).unwrap_or_default();
        let helo: String = client.helo.chars().filter(|c| !c.is_whitespace() && !matches!(c, '(' | ')')).collect();
        let word = match (protocol, utf8) {
            (Protocol::Smtp, false) => "ESMTP",
            (Protocol::Smtp, true) => "UTF8SMTP",
            (Protocol::Lmtp, false) => "LMTP",
            (Protocol::Lmtp, true) => "UTF8LMTP",
        };
        // Suffixes of RFC 3848.
        let secure = if client.secure { "S" } else { "" };
        let authenticated = if client.user.is_some() { "A" } else { "" };
        format!(
            "Received: from {helo} ({name}{from})\r\n\tby {host} with {word}{secure}{authenticated} id {id};\r\n\t{date}\r\n"
        )
    }
}
