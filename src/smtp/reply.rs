//! What is said on the wire: a code, an enhanced status code (RFC 3463) and a sentence. Pure text.

use std::borrow::Cow;

/// One answer to one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub code: u16,
    /// Empty where RFC 2034 wants none: greetings, 354 and what answers EHLO.
    pub status: &'static str,
    pub text: Cow<'static, str>,
}

impl Reply {
    pub const fn new(code: u16, status: &'static str, text: &'static str) -> Self {
        Self { code, status, text: Cow::Borrowed(text) }
    }

    pub fn said(code: u16, status: &'static str, text: String) -> Self {
        Self { code, status, text: Cow::Owned(text) }
    }

    /// What the client did is wrong; a 4xx is no fault of its own (RFC 5321 section 4.2.1).
    pub const fn is_error(&self) -> bool {
        self.code >= 500
    }

    /// One line. Nothing that came from the client may end it early or begin another.
    pub fn write(&self, out: &mut Vec<u8>) {
        let digit = |number: u16| b'0' + u8::try_from(number % 10).unwrap_or_default();
        out.extend([digit(self.code / 100), digit(self.code / 10), digit(self.code), b' ']);
        if !self.status.is_empty() {
            out.extend_from_slice(self.status.as_bytes());
            out.push(b' ');
        }
        out.extend(self.text.bytes().take(LONGEST).map(|byte| if byte.is_ascii_control() { b'?' } else { byte }));
        out.extend_from_slice(b"\r\n");
    }
}

/// A reply line has at most 512 bytes (RFC 5321 section 4.5.3.1.5).
const LONGEST: usize = 490;

pub const OK: Reply = Reply::new(250, "2.0.0", "ok");
pub const SENDER_OK: Reply = Reply::new(250, "2.1.0", "sender ok");
pub const RECIPIENT_OK: Reply = Reply::new(250, "2.1.5", "recipient ok");
pub const SEND_DATA: Reply = Reply::new(354, "", "end data with <CRLF>.<CRLF>");
pub const READY_FOR_TLS: Reply = Reply::new(220, "2.0.0", "ready to start TLS");
pub const BYE: Reply = Reply::new(221, "2.0.0", "bye");
pub const CANNOT_VERIFY: Reply = Reply::new(252, "2.1.5", "send some mail, it is judged then");
pub const HELP: Reply = Reply::new(214, "2.0.0", "see RFC 5321");
pub const UNKNOWN: Reply = Reply::new(500, "5.5.1", "unknown command");
pub const NOT_OFFERED: Reply = Reply::new(502, "5.5.1", "command not offered");
pub const TOO_LONG: Reply = Reply::new(500, "5.5.2", "line too long");
pub const NOT_CRLF: Reply = Reply::new(500, "5.5.2", "a line ends with CRLF and has no other control characters");
pub const NOT_UTF8: Reply = Reply::new(501, "5.5.2", "the line is not UTF-8");
pub const HELLO_FIRST: Reply = Reply::new(503, "5.5.1", "say EHLO first");
pub const LHLO_FIRST: Reply = Reply::new(503, "5.5.1", "say LHLO first");
pub const MAIL_FIRST: Reply = Reply::new(503, "5.5.1", "say MAIL first");
pub const MAIL_ALREADY: Reply = Reply::new(503, "5.5.1", "a mail is under way; say RSET first");
pub const NO_RECIPIENTS: Reply = Reply::new(554, "5.5.1", "no valid recipients");
pub const IN_CHUNKS: Reply = Reply::new(503, "5.5.1", "a mail that began with BDAT ends with BDAT");
pub const BAD_PARAMETER: Reply = Reply::new(501, "5.5.4", "wrong parameter");
pub const UNKNOWN_PARAMETER: Reply = Reply::new(555, "5.5.4", "parameter not offered");
pub const BAD_SENDER: Reply = Reply::new(501, "5.1.7", "not an address");
pub const BAD_RECIPIENT: Reply = Reply::new(501, "5.1.3", "not an address");
pub const NOT_SMTPUTF8: Reply = Reply::new(553, "5.6.7", "an address outside ASCII needs SMTPUTF8");
pub const TOO_MANY_RECIPIENTS: Reply = Reply::new(452, "4.5.3", "too many recipients; send the rest in another mail");
pub const TOO_LARGE: Reply = Reply::new(552, "5.3.4", "the mail is larger than allowed");
pub const BARE_LINE_END: Reply = Reply::new(550, "5.6.0", "a bare CR or LF in the mail (RFC 5321 section 2.3.8); bye");
pub const TOO_MANY_ERRORS: Reply = Reply::new(421, "4.7.0", "too many errors");
pub const TOO_MANY_COMMANDS: Reply = Reply::new(421, "4.7.0", "too many commands without a mail");
pub const TIME_OUT: Reply = Reply::new(421, "4.4.2", "you took too long");
pub const STOPPING: Reply = Reply::new(421, "4.3.2", "the service is stopping");
pub const SWITCHED_OFF: Reply = Reply::new(421, "4.3.2", "incoming mail is switched off");
pub const TOO_MANY_CONNECTIONS: Reply = Reply::new(421, "4.7.0", "too many connections");
pub const DISK_FULL: Reply = Reply::new(452, "4.3.1", "no room for the mail; try again later");
pub const NOT_STORED: Reply = Reply::new(451, "4.3.0", "the mail could not be stored; try again later");
pub const NOT_READY: Reply = Reply::new(451, "4.3.0", "the addresses are not known yet; try again later");
pub const TLS_FIRST: Reply = Reply::new(530, "5.7.0", "say STARTTLS first");
pub const TLS_ALREADY: Reply = Reply::new(503, "5.5.1", "TLS is active already");
pub const AUTH_FIRST: Reply = Reply::new(530, "5.7.0", "authentication required");
pub const AUTH_ALREADY: Reply = Reply::new(503, "5.5.1", "you are authenticated already");
pub const AUTH_NEEDS_TLS: Reply = Reply::new(538, "5.7.11", "encryption required: say STARTTLS first");
pub const AUTH_UNKNOWN: Reply = Reply::new(504, "5.5.4", "mechanism not offered");
pub const AUTH_NOT_NOW: Reply = Reply::new(503, "5.5.1", "no AUTH during a mail");
pub const AUTH_BAD: Reply = Reply::new(501, "5.5.2", "not base64, or not what the mechanism asks for");
pub const AUTH_CANCELLED: Reply = Reply::new(501, "5.7.0", "authentication cancelled");
pub const AUTH_OK: Reply = Reply::new(235, "2.7.0", "authenticated");
pub const AUTH_WRONG: Reply = Reply::new(535, "5.7.8", "user or password is wrong");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_one_line_of_at_most_512_bytes_whatever_is_said() {
        let mut out = Vec::new();
        Reply::said(550, "5.1.1", format!("a\r\n250 ok\0{}", "x".repeat(900))).write(&mut out);
        assert!(out.starts_with(b"550 5.1.1 a??250 ok?xxx") && out.len() <= 512);
        assert_eq!(out.iter().position(|byte| *byte == b'\n'), Some(out.len() - 1));
        out.clear();
        SEND_DATA.write(&mut out);
        assert_eq!(out, b"354 end data with <CRLF>.<CRLF>\r\n");
    }
}
