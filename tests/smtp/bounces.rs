//! Bounces: who is told, once, also after the smart host was away; and who is not.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use crate::client::*;
use crate::common::*;

/// A mail server that takes everything: the mails it got, each with its MAIL and RCPT lines on top.
fn smart_host(address: &str) -> Arc<Mutex<Vec<String>>> {
    let listener = TcpListener::bind(address).unwrap();
    let got = Arc::new(Mutex::new(Vec::new()));
    let mails = Arc::clone(&got);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut out = stream.try_clone().unwrap();
            let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
            let mut mail = String::new();
            out.write_all(b"220 smart.example\r\n").unwrap();
            while let Some(line) = lines.next() {
                let reply = match line.split([' ', ':']).next().unwrap() {
                    "DATA" => "354 go on",
                    "QUIT" => break,
                    "EHLO" => "250-smart.example\r\n250 SMTPUTF8",
                    _ => {
                        writeln!(mail, "{line}").unwrap();
                        "250 ok"
                    }
                };
                out.write_all(format!("{reply}\r\n").as_bytes()).unwrap();
                if reply.starts_with("354") {
                    lines.by_ref().take_while(|line| line != ".").for_each(|line| writeln!(mail, "{line}").unwrap());
                    mails.lock().unwrap().push(std::mem::take(&mut mail));
                    out.write_all(b"250 taken\r\n").unwrap();
                }
            }
        }
    });
    got
}

#[test]
fn the_sender_of_refused_mail_is_told_once_and_machines_never() {
    let host = own_address();
    let post = Post::with(&format!("bounces = true\nsmart_host = \"{host}\"\nbounce_rate = 6000"), "");
    post.server.good(&["list", "set", "news", "automatic=false", "senders=members", "members=[\"ann@example.org\"]"]);
    let serve = post.serve();
    // A null sender is judged by its From field, after the mail was accepted; automatic mail is refused then too.
    let null = letter("from nobody", &[]).from("bob@example.org").mail();
    assert!(post.client().mail("", &["news@localhost"], &null).starts_with("250"));
    let robot = letter("from a robot", &[]).header("Auto-Submitted", "auto-generated").mail();
    assert!(post.client().mail("ann@example.org", &["news@localhost"], &robot).starts_with("250"));
    // A file with an address that nobody has was never asked at RCPT.
    post.server.put("x.eml", letter("to nobody", &["nobody", "news"]));
    until("all are judged", SOON, || post.server.failed().len() == 3);
    // The smart host is away at first.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let got = smart_host(&host);
    until("the sender is told", SOON, || got.lock().unwrap().len() == 1);
    let mail = got.lock().unwrap()[0].clone();
    for part in [
        "MAIL FROM:<>\nRCPT TO:<ann@example.org>\n",
        "Content-Type: multipart/report; report-type=delivery-status;",
        "Final-Recipient: rfc822; nobody@lists.example\nAction: failed\nStatus: 5.1.1\n",
        "\nSubject: to nobody\n",
    ] {
        assert!(mail.contains(part), "{part:?} is not in {mail}");
    }
    until("all have their mark", SOON, || post.server.own("bounced").len() == 3);
    serve.term();
    assert_eq!(serve.wait(), 0);
    let _serve = post.serve();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(got.lock().unwrap().len(), 1, "told once, and nobody else");
}
