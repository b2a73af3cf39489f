//! Conversations, word for word. `C` is what the client sends, in one piece and byte by byte: the answers must not differ.

use std::cell::RefCell;
use std::sync::Arc;

use super::*;

/// Knows `news@` and `docs@` at l.example, queues q.example, refuses the rest, and says what it was asked.
#[derive(Default)]
struct Clerk {
    asked: RefCell<Vec<String>>,
}

impl Judge for Clerk {
    fn sender(&self, _: &Client, sender: &str, size: u64) -> Result<(), Reply> {
        self.asked.borrow_mut().push(format!("from {sender} {size}"));
        if sender == "bad@a.example" { Err(Reply::new(550, "5.7.1", "not from you")) } else { Ok(()) }
    }

    fn recipient(&self, _: &Client, sender: &str, _: u64, recipient: &str) -> Result<Recipient, Reply> {
        self.asked.borrow_mut().push(format!("{sender} to {recipient}"));
        let place = match recipient {
            "news@l.example" | "docs@l.example" | "postmaster" | "grün@l.example" => Place::Drop,
            "x@q.example" => Place::Queue { domain: "q.example".to_owned() },
            _ => return Err(Reply::new(550, "5.1.1", "no such list")),
        };
        Ok(Recipient { address: recipient.to_owned(), place })
    }
}

fn rules() -> Rules {
    Rules {
        host: "mill.example".to_owned(),
        max_size: 1000,
        recipients: 2,
        line: 100,
        errors: 5,
        commands: 20,
        offers_tls: true,
        require_tls: false,
        offers_auth: true,
        require_auth: false,
    }
}

/// What came of a conversation.
struct Told {
    replies: Vec<String>,
    letters: Vec<Letter>,
    closed: bool,
    asked: Vec<String>,
}

impl Told {
    /// The codes alone.
    fn codes(&self) -> Vec<&str> {
        self.replies.iter().map(|line| line.get(..3).unwrap_or(line)).collect()
    }

    fn last(&self) -> &str {
        self.replies.last().map_or("", String::as_str)
    }
}

/// Carries out every wish; the password is `secret`, and what is stored is what `stored` says.
fn converse(rules: Rules, protocol: Protocol, bytes: &[u8], piece: usize, stored: &Stored) -> Told {
    let clerk = Clerk::default();
    let mut session = Session::new(Arc::new(rules), protocol, Client::default());
    let (mut out, mut letters, mut closed) = (Vec::new(), Vec::new(), false);
    let mut buffer: Vec<u8> = Vec::new();
    for chunk in bytes.chunks(piece) {
        buffer.extend_from_slice(chunk);
        loop {
            let before = out.len();
            let (used, action) = session.advance(&buffer, &clerk, &mut out);
            buffer.drain(..used);
            match action {
                Action::Read => break,
                Action::Deposit(letter) => {
                    let text = String::from_utf8_lossy(&out[before..]).into_owned();
                    assert!(!text.contains("durable"), "said before it was: {text}");
                    letters.push(*letter);
                    session.deposited(stored, &mut out);
                }
                Action::StartTls => {
                    buffer.clear();
                    session.secured();
                }
                Action::Check { user, password } => {
                    session.authenticated((password == "secret").then_some(user), &mut out);
                }
                Action::Close => {
                    closed = true;
                    break;
                }
            }
        }
        if closed {
            break;
        }
    }
    let replies = String::from_utf8(out).unwrap().lines().map(str::to_owned).collect();
    Told { replies, letters, closed, asked: clerk.asked.into_inner() }
}

#[track_caller]
fn said_in(rules: &Rules, protocol: Protocol, bytes: impl AsRef<[u8]>) -> Told {
    let stored = Stored::Durable { id: "1".to_owned() };
    let whole = converse(rules.clone(), protocol, bytes.as_ref(), usize::MAX, &stored);
    // Bytes ahead of a handshake are dropped in one piece and are commands in many: that is the point of dropping them.
    if !bytes.as_ref().windows(8).any(|window| window == b"STARTTLS") {
        let pieces = converse(rules.clone(), protocol, bytes.as_ref(), 1, &stored);
        assert_eq!(whole.replies, pieces.replies);
        assert_eq!(whole.letters, pieces.letters);
    }
    whole
}

#[track_caller]
fn said(bytes: impl AsRef<[u8]>) -> Told {
    said_in(&rules(), Protocol::Smtp, bytes)
}

const MAIL: &str =
    "EHLO c.example\r\nMAIL FROM:<ann@a.example>\r\nRCPT TO:<news@l.example>\r\nDATA\r\nSubject: s\r\n\r\n..x\r\n.\r\n";

#[test]
fn a_pipelined_mail_is_deposited_and_only_then_accepted() {
    let told = said(format!("{MAIL}QUIT\r\n"));
    assert_eq!(told.codes()[8..], ["250", "250", "354", "250", "221"]);
    assert_eq!(told.replies[11], "250 2.6.0 1 is durable");
    let [letter] = told.letters.as_slice() else { panic!("{} letters", told.letters.len()) };
    assert_eq!(letter.text, b"Subject: s\r\n\r\n.x\r\n");
    assert_eq!(letter.sender, "ann@a.example");
    assert_eq!(letter.recipients, [Recipient { address: "news@l.example".to_owned(), place: Place::Drop }]);
    assert!(told.closed);
    assert_eq!(told.asked, ["from ann@a.example 0", "ann@a.example to news@l.example"]);
}

#[test]
fn what_cannot_be_stored_is_answered_452_or_451() {
    for (stored, reply) in [(Stored::Full, "452 4.3.1"), (Stored::Failed, "451 4.3.0")] {
        let told = converse(rules(), Protocol::Smtp, MAIL.as_bytes(), usize::MAX, &stored);
        assert!(told.last().starts_with(reply), "{}", told.last());
    }
}

#[test]
fn lmtp_answers_every_recipient_and_knows_lhlo_alone() {
    let told = said_in(
        &rules(),
        Protocol::Lmtp,
        "EHLO c\r\nLHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<news@l.example>\r\nRCPT TO:<nobody@l.example>\r\nRCPT TO:<docs@l.example>\r\nDATA\r\nx\r\n.\r\n",
    );
    assert_eq!(
        told.codes(),
        [
            "500", "250", "250", "250", "250", "250", "250", "250", "250", "250", "250", "550", "250", "354", "250",
            "250"
        ]
    );
    assert_eq!(told.letters[0].recipients.len(), 2);
    assert!(said("LHLO c\r\n").last().starts_with("500"));
}

#[test]
fn commands_out_of_order_are_refused_and_nothing_is_deposited() {
    for (bytes, reply) in [
        ("MAIL FROM:<a@a.example>\r\n", "503 5.5.1"),
        ("EHLO c\r\nRCPT TO:<news@l.example>\r\n", "503 5.5.1"),
        ("EHLO c\r\nDATA\r\n", "503 5.5.1"),
        ("EHLO c\r\nMAIL FROM:<a@a.example>\r\nDATA\r\n", "503 5.5.1"),
        ("EHLO c\r\nMAIL FROM:<a@a.example>\r\nMAIL FROM:<b@a.example>\r\n", "503 5.5.1"),
        ("EHLO c\r\nMAIL FROM:<a@a.example>\r\nRCPT TO:<nobody@l.example>\r\nDATA\r\n", "554 5.5.1"),
        ("EHLO c\r\nMAIL FROM:<a@a.example>\r\nEHLO c\r\nRCPT TO:<news@l.example>\r\n", "503 5.5.1"),
        ("EHLO c\r\nMAIL FROM:<a@a.example>\r\nRSET\r\nRCPT TO:<news@l.example>\r\n", "503 5.5.1"),
        ("EHLO c\r\nMAIL FROM:<a@a.example>\r\nRCPT TO:<news@l.example>\r\nBDAT 1\r\nxDATA\r\n", "503 5.5.1"),
        (
            "EHLO c\r\nMAIL FROM:<a@a.example>\r\nRCPT TO:<news@l.example>\r\nBDAT 1\r\nxRCPT TO:<docs@l.example>\r\n",
            "503 5.5.1",
        ),
        ("EHLO c\r\nMAIL FROM:<a@a.example>\r\nBDAT 3 LAST\r\nxyz", "554 5.5.1"),
        ("EHLO c\r\nMAIL FROM:<bad@a.example>\r\n", "550 5.7.1"),
        ("EHLO c\r\nMAIL FROM:<a@a.example> SIZE=1001\r\n", "552 5.3.4"),
        ("EHLO c\r\nMAIL FROM:<a@a.example> BODY=BINARYMIME\r\n", "555 5.5.4"),
        ("EHLO c\r\nMAIL FROM:<a@a.example> REQUIRETLS\r\n", "555 5.5.4"),
        ("EHLO c\r\nMAIL FROM:<a@a.example>\r\nRCPT TO:<>\r\n", "501 5.1.3"),
        ("EHLO c\r\nMAIL FROM:<grün@a.example>\r\n", "553 5.6.7"),
        ("EHLO c\r\nMAIL FROM:<a@a.example>\r\nRCPT TO:<grün@l.example>\r\n", "553 5.6.7"),
        ("EHLO c\r\nAUTH PLAIN AGEAYg==\r\n", "538 5.7.11"),
        ("EHLO c\r\nETRN x\r\n", "502 5.5.1"),
        ("EHLO c\r\nWHAT\r\n", "500 5.5.1"),
        ("EHLO\r\n", "501 5.5.2"),
    ] {
        let told = said(bytes);
        assert!(told.last().starts_with(reply), "{bytes:?}: {}", told.last());
        assert!(told.letters.is_empty(), "{bytes:?}");
    }
}

#[test]
fn vrfy_and_expn_tell_nothing() {
    let told = said("EHLO c\r\nVRFY news\r\nEXPN news\r\nVRFY nobody\r\n");
    assert_eq!(told.replies[8..].iter().collect::<std::collections::BTreeSet<_>>().len(), 1);
    assert_eq!(told.codes()[8..], ["252", "252", "252"]);
}

#[test]
fn smtputf8_lets_in_addresses_outside_ascii_and_postmaster_needs_no_domain() {
    let told =
        said("EHLO c\r\nMAIL FROM:<grün@a.example> SMTPUTF8\r\nRCPT TO:<grün@l.example>\r\nRCPT TO:<PostMaster>\r\n");
    assert_eq!(told.codes()[8..], ["250", "250", "250"]);
    assert_eq!(told.asked[1..], ["grün@a.example to grün@l.example", "grün@a.example to postmaster"]);
}

#[test]
fn a_smuggled_mail_is_refused_and_the_connection_closed() {
    for end in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r\n", "\r\n.\r\r\n"] {
        let smuggled = format!(
            "EHLO c\r\nMAIL FROM:<ann@a.example>\r\nRCPT TO:<news@l.example>\r\nDATA\r\nx{end}MAIL FROM:<evil@a.example>\r\nRCPT TO:<docs@l.example>\r\nDATA\r\ny\r\n.\r\n"
        );
        let told = said(smuggled);
        assert!(told.letters.is_empty() && told.closed, "{end:?}");
        assert!(told.last().starts_with("550 5.6.0"), "{end:?}: {}", told.last());
        assert_eq!(told.asked.len(), 2, "{end:?}: the second mail was never a command");
    }
    let told = said("EHLO c\r\nMAIL FROM:<a@a.example>\r\nRCPT TO:<news@l.example>\r\nBDAT 3 LAST\r\na\nbQUIT\r\n");
    assert!(told.letters.is_empty() && told.closed && told.last().starts_with("550 5.6.0"));
}

#[test]
fn chunks_make_one_mail_and_a_chunk_for_nobody_is_read_over() {
    let told = said(
        "EHLO c\r\nMAIL FROM:<a@a.example>\r\nRCPT TO:<news@l.example>\r\nBDAT 4\r\nab\r\nBDAT 0\r\nBDAT 5 LAST\r\n.c\r\n.RSET\r\n",
    );
    assert_eq!(told.codes()[8..], ["250", "250", "250", "250", "250", "250"]);
    assert_eq!(told.letters[0].text, b"ab\r\n.c\r\n.");
    let told = said("EHLO c\r\nBDAT 6\r\nQUIT\r\nNOOP\r\n");
    assert_eq!(told.codes()[8..], ["503", "250"], "what stands in a chunk is no command");
    assert!(!told.closed);
    let told = said("EHLO c\r\nBDAT 99999999999999999999 LAST\r\nQUIT\r\n");
    assert!(told.closed && told.letters.is_empty());
}

#[test]
fn a_mail_beyond_the_limit_is_read_to_its_end_and_refused() {
    let text = "x".repeat(600);
    let told = said(format!("{}{text}\r\n{text}\r\n.\r\nNOOP\r\n", MAIL.split_at(MAIL.find("Subject").unwrap()).0));
    assert_eq!(told.codes()[11..], ["552", "250"]);
    let told = said(format!(
        "EHLO c\r\nMAIL FROM:<a@a.example>\r\nRCPT TO:<news@l.example>\r\nBDAT 600\r\n{text}BDAT 600\r\n{text}NOOP\r\n"
    ));
    assert_eq!(told.codes()[10..], ["250", "552", "250"]);
    assert!(told.letters.is_empty());
}

#[test]
fn lines_that_are_too_long_not_crlf_or_not_utf8_are_refused_and_the_next_is_read() {
    let told = said(format!("NOOP {}\r\nNOOP\r\n", "x".repeat(200)));
    assert_eq!(told.codes(), ["500", "250"]);
    let told = said(b"NOOP\nNOOP a\rb\r\nNOOP a\0\r\nNOOP \xff\r\nNOOP\r\n");
    assert_eq!(told.codes(), ["500", "500", "500", "501", "250"]);
}

#[test]
fn too_many_errors_commands_or_recipients_have_an_end() {
    let told = said("WHAT\r\n".repeat(50));
    assert_eq!(told.codes(), ["500", "500", "500", "500", "500", "500", "421"]);
    let full = converse(rules(), Protocol::Smtp, MAIL.repeat(9).as_bytes(), usize::MAX, &Stored::Full);
    assert_eq!(full.letters.len(), 9, "a full disk is no fault of the client");
    let told = said("NOOP\r\n".repeat(50));
    assert_eq!(told.replies.len(), 21);
    assert!(told.closed && told.last().starts_with("421 4.7.0"));
    let told = said(format!("EHLO c\r\nMAIL FROM:<a@a.example>\r\n{}", "RCPT TO:<news@l.example>\r\n".repeat(3)));
    assert!(told.last().starts_with("452 4.5.3"));
    let told = said(format!("{MAIL}{MAIL}{MAIL}{MAIL}{MAIL}{MAIL}"));
    assert_eq!(told.letters.len(), 6, "a mail begins the count anew");
}

#[test]
fn what_is_sent_ahead_of_the_handshake_is_dropped_and_all_is_forgotten() {
    let told = said("EHLO c\r\nMAIL FROM:<a@a.example>\r\nSTARTTLS\r\nRCPT TO:<news@l.example>\r\nQUIT\r\n");
    assert_eq!(told.codes()[8..], ["250", "220"]);
    let stored = Stored::Failed;
    let mut rules = rules();
    rules.require_tls = true;
    let told = converse(rules, Protocol::Smtp, b"EHLO c\r\nMAIL FROM:<a@a.example>\r\nSTARTTLS\r\n", 1, &stored);
    assert!(told.replies[8].starts_with("530 5.7.0"));
    // After it: EHLO anew, AUTH is offered, STARTTLS is not.
    let bytes = b"EHLO c\r\nSTARTTLS\r\nMAIL FROM:<a@a.example>\r\nEHLO c\r\nSTARTTLS\r\n";
    let told = converse(super::tests::rules(), Protocol::Smtp, bytes, 1, &stored);
    assert!(told.replies[9].starts_with("503 5.5.1"), "{:?}", told.replies);
    let after = told.replies[10..].join("\n");
    assert!(after.contains("250-AUTH PLAIN LOGIN") && !after.contains("250-STARTTLS"), "{after}");
    assert!(told.last().starts_with("503"));
}

#[test]
fn passwords_are_taken_under_tls_only_and_mail_may_need_one() {
    let secured = |bytes: &str| {
        let mut rules = rules();
        rules.require_auth = true;
        let bytes = format!("EHLO c\r\nSTARTTLS\r\nEHLO c\r\n{bytes}");
        let told = converse(rules, Protocol::Smtp, bytes.as_bytes(), 1, &Stored::Failed);
        told.replies[17..].iter().map(|reply| reply[..9.min(reply.len())].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(secured("MAIL FROM:<a@a.example>\r\n"), ["530 5.7.0"]);
    // \0ann\0secret
    assert_eq!(secured("AUTH PLAIN AGFubgBzZWNyZXQ=\r\nMAIL FROM:<a@a.example>\r\n"), ["235 2.7.0", "250 2.1.0"]);
    assert_eq!(secured("AUTH PLAIN\r\nAGFubgBzZWNyZXQ=\r\nAUTH LOGIN\r\n"), ["334 ", "235 2.7.0", "503 5.5.1"]);
    assert_eq!(secured("AUTH LOGIN\r\nYW5u\r\nc2VjcmV0\r\n"), ["334 VXNlc", "334 UGFzc", "235 2.7.0"]);
    assert_eq!(
        secured("AUTH LOGIN YW5u\r\nd3Jvbmc=\r\nMAIL FROM:<a@a.example>\r\n"),
        ["334 UGFzc", "535 5.7.8", "530 5.7.0"]
    );
    assert_eq!(
        secured("AUTH PLAIN\r\n*\r\nAUTH PLAIN !\r\nAUTH PLAIN YQ==\r\nAUTH GSSAPI\r\n"),
        ["334 ", "501 5.7.0", "501 5.5.2", "501 5.5.2", "504 5.5.4"]
    );
}

#[test]
fn a_large_mail_can_be_taken_in_parts() {
    let clerk = Clerk::default();
    let mut session = Session::new(Arc::new(rules()), Protocol::Smtp, Client::default());
    let mut out = Vec::new();
    let (head, tail) = MAIL.split_at(MAIL.len() - 6);
    session.advance(head.as_bytes(), &clerk, &mut out);
    assert!(!session.is_idle());
    assert_eq!(session.take_text(), b"Subject: s\r\n\r\n.");
    assert_eq!(
        session.envelope().map(|(sender, to)| (sender.to_owned(), to.len())),
        Some(("ann@a.example".to_owned(), 1))
    );
    let (_, action) = session.advance(tail.as_bytes(), &clerk, &mut out);
    let Action::Deposit(letter) = action else { panic!("{action:?}") };
    assert_eq!((letter.text.as_slice(), letter.size), (&b"x\r\n"[..], 18));
    // Nothing is read while the deposit is open.
    assert_eq!(session.advance(b"QUIT\r\n", &clerk, &mut out), (0, Action::Read));
}
