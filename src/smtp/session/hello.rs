//! The greeting, EHLO and what is offered.

use super::{Protocol, Session};
use crate::smtp::reply::Reply;

impl Session {
    /// The first line of a conversation.
    pub fn greet(&self, out: &mut Vec<u8>) {
        let word = if self.protocol == Protocol::Lmtp { "LMTP" } else { "ESMTP" };
        Reply::said(220, "", format!("{} {word} mailmill", self.rules.host)).write(out);
    }

    /// EHLO and HELO reset a mail that is under way (RFC 5321 section 4.1.4).
    pub(super) fn hello(&mut self, host: &str, extended: bool, out: &mut Vec<u8>) {
        self.client.helo = host.chars().filter(|c| !c.is_control()).take(255).collect();
        self.greeted = true;
        self.extended = extended;
        self.mail = None;
        if !extended {
            return Reply::said(250, "", self.rules.host.clone()).write(out);
        }
        out.extend_from_slice(b"250-");
        out.extend_from_slice(self.rules.host.as_bytes());
        out.extend_from_slice(b"\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n");
        if self.rules.offers_tls && !self.client.secure {
            out.extend_from_slice(b"250-STARTTLS\r\n");
        }
        if self.may_authenticate() {
            out.extend_from_slice(b"250-AUTH PLAIN LOGIN\r\n");
        }
        out.extend_from_slice(format!("250-SIZE {}\r\n250 ENHANCEDSTATUSCODES\r\n", self.rules.max_size).as_bytes());
    }

    /// Passwords are spoken under TLS only.
    pub(super) fn may_authenticate(&self) -> bool {
        self.rules.offers_auth && self.client.secure
    }
}
