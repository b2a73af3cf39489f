//! Tells senders of mail that was refused after it was accepted: a delivery status notification (RFC 3464) through the smart
//! host. Off unless `smtp.bounces`. Never for a null sender and never for automatic mail (RFC 3834 section 2): that is how mail
//! servers keep from writing to each other for ever.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::model::outcome::Problem;
use crate::spool::{FailedMail, Note};

/// What became of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// The smart host has it.
    Yes,
    /// It is not to be told, or cannot be: why.
    Never(String),
    /// To be tried again.
    NotYet(String),
}

/// No smart host takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// So much of the header is sent back.
const HEADER: usize = 32 << 10;

/// Mail that was refused longer ago is history.
const OLDEST: i64 = 24 * 3600;

/// Tells the sender of one refused mail.
pub fn tell(mail: &FailedMail, host: &str, smart_host: &str) -> Told {
    let Some(note) = &mail.note else { return Told::Never("nobody knows why it was refused".to_owned()) };
    let header = match header_of(mail) {
        Ok(header) => header,
        Err(error) => return Told::NotYet(error.to_string()),
    };
    let sender = match addressee(note, &header, jiff::Timestamp::now().as_second()) {
        Ok(sender) => sender,
        Err(why) => return Told::Never(why.to_owned()),
    };
    let date = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S +0000").to_string();
    send(smart_host, host, &sender, &report(note, &header, host, &sender, &date))
}

fn header_of(mail: &FailedMail) -> io::Result<String> {
    use io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(&mail.path)?.take(HEADER as u64).read_to_end(&mut bytes)?;
    let (_, original) = crate::pipeline::envelope::split(&bytes);
    let text = String::from_utf8_lossy(original).replace("\r\n", "\n");
    Ok(text.split("\n\n").next().unwrap_or_default().to_owned())
}

/// Who is to be told, or why nobody is.
fn addressee(note: &Note, header: &str, now: i64) -> Result<String, &'static str> {
    let sender = note.sender.as_deref().unwrap_or_default();
    let is_line = !sender.contains(|c: char| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>'));
    if sender.is_empty() || !sender.contains('@') || !is_line {
        return Err("the sender is null");
    }
    let local = sender.split('@').next().unwrap_or_default();
    if local.eq_ignore_ascii_case("mailer-daemon") || local.to_lowercase().starts_with("owner-") {
        return Err("the sender is a machine");
    }
    let automatic = header.lines().any(|line| {
        let line = line.to_lowercase();
        let field = |name: &str| line.strip_prefix(name).map(str::trim);
        field("auto-submitted:").is_some_and(|value| value != "no")
            || field("precedence:").is_some_and(|value| matches!(value, "bulk" | "junk" | "list"))
            || line.starts_with("list-id:")
            || line.starts_with("x-mailmill-loop:")
    });
    if automatic {
        return Err("the mail is automatic");
    }
    let refused: Option<jiff::Timestamp> = note.time.parse().ok();
    if refused.is_none_or(|time| now - time.as_second() > OLDEST) {
        return Err("it was refused too long ago");
    }
    if note.problems.iter().all(|problem| problem.recipient.is_none()) {
        return Err("no recipient was refused");
    }
    Ok(sender.to_owned())
}

/// RFC 3464: text for people, fields for programs, and the header of the mail.
fn report(note: &Note, header: &str, host: &str, sender: &str, date: &str) -> String {
    // Unique in this mail: the id of a claim is never used twice.
    let boundary = format!("=_mailmill_{}", note.id);
    let refused: Vec<&Problem> = note.problems.iter().filter(|problem| problem.recipient.is_some()).take(100).collect();
    let mut text = String::new();
    let _ = write!(
        text,
        "From: Mail service <MAILER-DAEMON@{host}>\nTo: {sender}\nSubject: Your mail could not be delivered\nDate: {date}\n\
         Message-ID: <bounce-{}-{}@{host}>\nAuto-Submitted: auto-replied\nMIME-Version: 1.0\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"{boundary}\"\n",
        note.id, note.batch
    );
    if let Some(id) = note.message_id.as_deref().map(one_line) {
        let _ = writeln!(text, "In-Reply-To: <{id}>");
    }
    let _ =
        write!(text, "\n--{boundary}\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n");
    let _ = writeln!(text, "Your mail was accepted and could then not be delivered to:\n");
    for problem in &refused {
        let (recipient, why) = (one_line(problem.recipient.as_deref().unwrap_or_default()), one_line(&problem.text));
        let _ = writeln!(text, "  {recipient}: {why}");
    }
    let _ = write!(
        text,
        "\n--{boundary}\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; {host}\nArrival-Date: {date}\n"
    );
    for problem in &refused {
        let recipient = one_line(problem.recipient.as_deref().unwrap_or_default());
        let status = if problem.reason == "unknown-address" { "5.1.1" } else { "5.7.1" };
        let code = one_line(&problem.reason);
        let _ = write!(
            text,
            "\nFinal-Recipient: rfc822; {recipient}\nAction: failed\nStatus: {status}\nDiagnostic-Code: x-mailmill; {code}\n"
        );
    }
    let _ = write!(text, "\n--{boundary}\nContent-Type: text/rfc822-headers\n\n{header}\n\n--{boundary}--\n");
    text
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect()
}

/// One conversation with the smart host (RFC 5321), with a null sender: what cannot be delivered is not answered in turn.
fn send(smart_host: &str, host: &str, to: &str, text: &str) -> Told {
    match try_send(smart_host, host, to, text) {
        Ok(None) => Told::Yes,
        Ok(Some(reply)) if reply.starts_with('5') => Told::Never(format!("the smart host refused it: {reply}")),
        Ok(Some(reply)) => Told::NotYet(format!("the smart host: {reply}")),
        Err(error) => Told::NotYet(format!("the smart host {smart_host}: {error}")),
    }
}

/// The reply that was no success, if any.
fn try_send(smart_host: &str, host: &str, to: &str, text: &str) -> io::Result<Option<String>> {
    let at = smart_host.to_socket_addrs()?.next().ok_or_else(|| io::Error::other("it has no address"))?;
    let stream = TcpStream::connect_timeout(&at, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut out = stream.try_clone()?;
    let mut replies = BufReader::new(stream);
    let is_ascii = text.is_ascii() && to.is_ascii();
    let mail = if is_ascii { "MAIL FROM:<>\r\n" } else { "MAIL FROM:<> BODY=8BITMIME SMTPUTF8\r\n" };
    let (hello, recipient) = (format!("EHLO {host}\r\n"), format!("RCPT TO:<{to}>\r\n"));
    let steps = ["", &hello, mail, &recipient, "DATA\r\n"];
    for (step, wanted) in steps.iter().zip(["220", "250", "250", "250", "354"]) {
        out.write_all(step.as_bytes())?;
        let reply = reply(&mut replies)?;
        if !reply.starts_with(wanted) {
            return Ok(Some(reply));
        }
    }
    let mut wire = String::with_capacity(text.len() + 64);
    for line in text.lines() {
        wire.push_str(if line.starts_with('.') { "." } else { "" });
        wire.push_str(line.trim_end_matches('\r'));
        wire.push_str("\r\n");
    }
    wire.push_str(".\r\n");
    out.write_all(wire.as_bytes())?;
    let last = reply(&mut replies)?;
    // It has the mail or not; how it says goodbye is of no interest.
    let _ = out.write_all(b"QUIT\r\n");
    Ok((!last.starts_with("250")).then_some(last))
}

/// The last line of a reply.
fn reply(replies: &mut impl BufRead) -> io::Result<String> {
    use io::Read;
    loop {
        let mut line = String::new();
        // A line has at most 512 bytes (RFC 5321 section 4.5.3.1.5); twice that is patience enough.
        if replies.by_ref().take(1024).read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(line.trim_end().to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_772_529_630;

    fn note(sender: &str) -> Note {
        let problem = Problem {
            id: "1-1".to_owned(),
            file: "x.eml".to_owned(),
            mail_id: None,
            message_id: None,
            sender: None,
            recipient: Some("nobody@localhost".to_owned()),
            outcome: "refused".to_owned(),
            reason: "unknown-address".to_owned(),
            text: "no list has\r\nthis address".to_owned(),
        };
        Note {
            id: "1-1".to_owned(),
            file: "x.eml".to_owned(),
            mail_id: None,
            message_id: Some("m@a.example".to_owned()),
            sender: Some(sender.to_owned()),
            time: "2026-03-03T09:20:30Z".to_owned(),
            batch: 1,
            problems: vec![problem],
            delivered: Vec::new(),
        }
    }

    #[test]
    fn nobody_is_told_who_must_not_be() {
        let told = |sender: &str, header: &str, now| addressee(&note(sender), header, now).is_ok();
        assert!(told("ann@a.example", "Subject: s\nAuto-Submitted: no", NOW));
        for (sender, header) in [
            ("", "Subject: s"),
            ("MAILER-DAEMON@a.example", "Subject: s"),
            ("owner-list@a.example", "Subject: s"),
            ("ann@a.example>\r\nRCPT TO:<x@y.example", "Subject: s"),
            ("ann@a.example", "Auto-Submitted: auto-replied"),
            ("ann@a.example", "Precedence: bulk"),
            ("ann@a.example", "List-Id: <l.example>"),
        ] {
            assert!(!told(sender, header, NOW), "{sender:?} {header}");
        }
        assert!(!told("ann@a.example", "Subject: s", NOW + 2 * OLDEST), "history");
    }

    #[test]
    fn a_report_has_its_three_parts_and_no_line_of_somebody_elses() {
        let text = report(
            &note("ann@a.example"),
            "Subject: s",
            "mill.example",
            "ann@a.example",
            "Tue, 3 Mar 2026 09:20:30 +0000",
        );
        assert!(text.contains("Content-Type: multipart/report; report-type=delivery-status;"));
        assert!(text.contains("\nFinal-Recipient: rfc822; nobody@localhost\nAction: failed\nStatus: 5.1.1\n"));
        assert!(text.contains("nobody@localhost: no list has  this address\n"));
        assert!(text.contains("Content-Type: text/rfc822-headers\n\nSubject: s\n"));
        assert!(text.contains("Auto-Submitted: auto-replied\n") && text.contains("In-Reply-To: <m@a.example>\n"));
    }
}
