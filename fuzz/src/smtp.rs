//! The SMTP and LMTP conversation, against any bytes in any pieces: no transition that must not be, no 250 to a mail before it
//! is durable, nothing that a client sent ahead of a handshake, and no mail with a bare line end.

use std::cell::Cell;
use std::sync::Arc;

use mailmill::smtp::reply::Reply;
use mailmill::smtp::session::{Action, Client, Judge, Letter, Place, Protocol, Recipient, Rules, Session, Stored};

/// Welcomes every second recipient, and counts.
#[derive(Default)]
struct Clerk {
    asked: Cell<u64>,
    welcomed: Cell<u64>,
}

impl Judge for Clerk {
    fn sender(&self, _: &Client, sender: &str, _: u64) -> Result<(), Reply> {
        one_line(sender);
        Ok(())
    }

    fn recipient(&self, _: &Client, sender: &str, _: u64, recipient: &str) -> Result<Recipient, Reply> {
        one_line(sender);
        one_line(recipient);
        assert!(!recipient.is_empty(), "a recipient is somebody");
        self.asked.set(self.asked.get() + 1);
        if recipient.len().is_multiple_of(2) {
            return Err(Reply::new(550, "5.1.1", "no"));
        }
        self.welcomed.set(self.welcomed.get() + 1);
        Ok(Recipient { address: recipient.to_owned(), place: Place::Drop })
    }
}

fn one_line(address: &str) {
    assert!(!address.contains(['\r', '\n', '\0']), "an address is one line: {address:?}");
}

/// The first byte says how the rest is to be taken, the second in which pieces it comes.
pub fn check(bytes: &[u8]) {
    let [how, piece, wire @ ..] = bytes else { return };
    let flag = |bit: u8| how >> bit & 1 == 1;
    let rules = Rules {
        host: "mill.example".to_owned(),
        max_size: 300,
        recipients: 3,
        line: 512,
        errors: 5,
        commands: 60,
        offers_tls: flag(0),
        require_tls: flag(0) && flag(1),
        offers_auth: flag(0) && flag(2),
        require_auth: flag(0) && flag(2) && flag(3),
    };
    let protocol = if flag(4) { Protocol::Lmtp } else { Protocol::Smtp };
    let stored = [Stored::Durable { id: "ID-OF-A-MAIL".to_owned() }, Stored::Full, Stored::Failed];
    let mut talk = Talk {
        session: Session::new(Arc::new(rules.clone()), protocol, Client::default()),
        rules,
        clerk: Clerk::default(),
        stored: stored[usize::from(how >> 5) % 3].clone(),
        is_lmtp: protocol == Protocol::Lmtp,
        answers: 0,
        out: Vec::new(),
    };
    let mut buffer = Vec::new();
    for chunk in wire.chunks(usize::from(*piece).max(1)) {
        buffer.extend_from_slice(chunk);
        if !talk.feed(&mut buffer) {
            break;
        }
        assert!(buffer.len() < 512 + usize::from(*piece).max(1), "what cannot be used yet is less than a line");
    }
    talk.conclude();
}

struct Talk {
    session: Session,
    rules: Rules,
    clerk: Clerk,
    stored: Stored,
    is_lmtp: bool,
    /// What is owed to the mails that were to be made durable.
    answers: u64,
    out: Vec<u8>,
}

impl Talk {
    /// False when the connection is closed.
    fn feed(&mut self, buffer: &mut Vec<u8>) -> bool {
        loop {
            let before = self.out.len();
            let (used, action) = self.session.advance(buffer, &self.clerk, &mut self.out);
            assert!(used <= buffer.len());
            buffer.drain(..used);
            let text = String::from_utf8_lossy(&self.out[before..]).into_owned();
            assert!(!text.contains("ID-OF-A-MAIL"), "said before it was durable: {text}");
            match action {
                Action::Read => return true,
                Action::Close => return false,
                Action::Deposit(letter) => {
                    self.accept(&letter);
                    // Nothing may happen while the deposit is open.
                    let asked = self.clerk.asked.get();
                    let said = self.out.len();
                    assert_eq!(self.session.advance(buffer, &self.clerk, &mut self.out), (0, Action::Read));
                    assert_eq!((self.clerk.asked.get(), self.out.len()), (asked, said));
                    let stored = self.stored.clone();
                    if self.session.deposited(&stored, &mut self.out) == Action::Close {
                        return false;
                    }
                }
                Action::StartTls => {
                    assert!(self.rules.offers_tls && !self.session.client().secure);
                    assert!(buffer.is_empty(), "what was sent ahead is gone");
                    self.session.secured();
                    assert!(self.session.client().helo.is_empty() && self.session.is_idle());
                }
                Action::Check { user, password } => {
                    assert!(self.rules.offers_auth && self.session.client().secure, "a password in the clear");
                    let known = (password == "secret").then_some(user);
                    if self.session.authenticated(known, &mut self.out) == Action::Close {
                        return false;
                    }
                }
            }
        }
    }

    fn accept(&mut self, letter: &Letter) {
        let client = self.session.client();
        assert!(!self.rules.require_tls || client.secure, "mail in the clear");
        assert!(!self.rules.require_auth || client.user.is_some(), "mail of nobody");
        let count = letter.recipients.len() as u64;
        assert!(count >= 1 && count <= self.rules.recipients as u64 && count <= self.clerk.welcomed.get());
        assert!(letter.size <= self.rules.max_size && letter.text.len() as u64 == letter.size);
        let mut last = 0;
        for (at, byte) in letter.text.iter().enumerate() {
            if *byte == b'\n' {
                assert_eq!(last, b'\r', "a bare LF");
            }
            if *byte == b'\r' {
                assert_eq!(letter.text.get(at + 1), Some(&b'\n'), "a bare CR");
            }
            last = *byte;
        }
        // RFC 2033 section 4.2: one answer a recipient.
        self.answers += if self.is_lmtp { count } else { 1 };
    }

    /// Every line of ours is a reply, and there are as many acceptances as deposits.
    fn conclude(self) {
        let text = String::from_utf8_lossy(&self.out).into_owned();
        for line in text.split_terminator("\r\n") {
            let head = line.as_bytes();
            assert!(head.len() >= 4 && head[..3].iter().all(u8::is_ascii_digit), "no reply: {line:?}");
            assert!(matches!(head[3], b' ' | b'-') && line.len() <= 510, "no reply: {line:?}");
        }
        let accepted = text.matches("ID-OF-A-MAIL").count() as u64;
        let owed = if matches!(self.stored, Stored::Durable { .. }) { self.answers } else { 0 };
        assert_eq!(accepted, owed, "a mail is accepted when it is durable, and only then");
    }
}
