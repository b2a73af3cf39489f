//! A mail that is accepted becomes an item, soon, once, and with every byte it had.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use crate::client::*;
use crate::common::*;

#[test]
fn a_mail_from_init_defaults_is_an_item_within_two_seconds() {
    // As `init` writes it, but for the address: 127.0.0.1:2525 may be somebody's.
    let server = Server { root: tempfile::tempdir().unwrap() };
    let mut init = mailmill();
    init.arg("init").arg(server.root.path());
    answer(init).ends(0);
    let address = own_address();
    let file = server.path("mailmill.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("listen = [\"127.0.0.1:2525\"]"), "the default is shown");
    fs::write(&file, text.replace("127.0.0.1:2525", &address)).unwrap();
    server.list("news", "announcements", &[]);
    let post = Post { server, address };
    let serve = post.serve();
    let mut rounds = Vec::new();
    for number in 0..3 {
        let title = format!("hello {number}");
        let begin = Instant::now();
        let reply = post.client().mail("ann@example.org", &["news@localhost"], &letter(&title, &[]).mail());
        assert!(reply.starts_with("250 2.6.0 "), "{reply}");
        post.has("news", &title);
        rounds.push(begin.elapsed());
    }
    within_two_seconds(&rounds);
    serve.term();
    assert_eq!(serve.wait(), 0);
    post.server.is_settled();
}

#[test]
fn the_id_that_is_answered_leads_to_the_item_and_no_byte_is_lost() {
    let post = Post::with("received = false", "");
    post.server.list("docs", "document-library", &[]);
    let _serve = post.serve();
    let file = noise(7, 300_000);
    let mail = letter(".dots", &[]).body("..\r\n.\r\n...x\r\n").attach("a.bin", &file).mail();
    let reply = post.client().mail("ann@example.org", &["docs@localhost", "news@localhost"], &mail);
    let id = reply.split(' ').nth(2).unwrap().to_owned();
    post.has("docs", ".dots");
    let item = &post.server.items("docs")[0];
    assert_eq!(text(&item["mail_id"]), id);
    assert_eq!(post.server.cat("docs", 1, "a.bin"), file);
    assert!(text(&post.server.items("docs")[0]["from"]["address"]) == "ann@example.org");
    let traced = post.server.good(&["trace", &id, "--json"]).objects();
    assert!(!traced.is_empty(), "trace goes on from the id that SMTP answered");
    assert_eq!(post.server.items("news").len(), 1);
}

#[test]
fn our_received_field_stands_on_top_and_the_same_mail_without_it_is_one_item() {
    let post = Post::new();
    post.server.good(&["list", "set", "news", "save_original=true"]);
    let serve = post.serve();
    let mail = letter("traced", &[]).mail();
    for _ in 0..2 {
        assert!(post.client().mail("ann@example.org", &["news@localhost"], &mail).starts_with("250"));
    }
    until("both are there", SOON, || post.server.items("news").len() == 2);
    let original = String::from_utf8(post.server.cat("news", 1, "original")).unwrap();
    assert!(original.starts_with("Received: from client.example ([127."), "{original}");
    assert!(original.contains("by mill.example with ESMTP id "), "{original}");
    assert!(original.as_bytes().ends_with(&mail));
    serve.term();
    assert_eq!(serve.wait(), 0);
    // Without our field a mail that is sent again, because its sender never heard our answer, is known.
    post.server.configure(&format!("[smtp]\nlisten = [\"{}\"]\nreceived = false\n", post.address));
    let _serve = post.serve();
    let again = letter("again", &[]).mail();
    for _ in 0..3 {
        assert!(post.client().mail("ann@example.org", &["news@localhost"], &again).starts_with("250"));
    }
    post.has("news", "again");
    until("all are settled", SOON, || post.server.waiting().is_empty() && post.server.own("claimed").is_empty());
    assert_eq!(post.server.titles("news").iter().filter(|title| *title == "again").count(), 1);
}

#[test]
fn pipelined_and_chunked_mail_arrives_whole() {
    let post = Post::new();
    let _serve = post.serve();
    let mut client = post.client();
    let ehlo = client.say("EHLO c.example", "250");
    for offered in ["PIPELINING", "8BITMIME", "SMTPUTF8", "CHUNKING", "SIZE 52428800", "ENHANCEDSTATUSCODES"] {
        assert!(ehlo.contains(offered), "{offered}: {ehlo}");
    }
    assert!(!ehlo.contains("STARTTLS") && !ehlo.contains("AUTH"), "nothing that is not configured: {ehlo}");
    let mail = String::from_utf8(letter("chunked", &[]).mail()).unwrap();
    let (first, second) = mail.split_at(100);
    client.send(format!(
        "MAIL FROM:<ann@example.org> BODY=8BITMIME SIZE={}\r\nRCPT TO:<news@localhost>\r\nBDAT {}\r\n{first}BDAT {} LAST\r\n{second}",
        mail.len(),
        first.len(),
        second.len()
    ));
    for _ in 0..4 {
        client.expect("250");
    }
    let mail = String::from_utf8(letter("Grüße pipelined", &[]).mail()).unwrap();
    client.send("MAIL FROM:<jörg@example.org> SMTPUTF8\r\nRCPT TO:<news@localhost>\r\nDATA\r\n");
    for code in ["250", "250", "354"] {
        client.expect(code);
    }
    client.send(format!("{mail}.\r\nQUIT\r\n"));
    client.expect("250");
    client.expect("221");
    client.is_closed();
    post.has("news", "chunked");
    post.has("news", "Grüße pipelined");
}

#[test]
fn a_mail_larger_than_what_is_kept_in_memory_arrives_whole_and_one_given_up_leaves_nothing() {
    let post = Post::with("received = false", "");
    post.server.list("docs", "document-library", &[]);
    let _serve = post.serve();
    let file = noise(3, 6_000_000);
    let mut client = post.client();
    // Most of a large mail in chunks, given up; then another one right behind it.
    client.envelope("ann@example.org", &["news@localhost"]);
    let junk = "y".repeat(998) + "\r\n";
    let junk = junk.repeat(1000);
    client.send(format!(
        "BDAT {}\r\n{junk}RSET\r\nMAIL FROM:<ann@example.org>\r\nRCPT TO:<docs@localhost>\r\nDATA\r\n",
        junk.len()
    ));
    for code in ["250", "250", "250", "250", "354"] {
        client.expect(code);
    }
    client.data(&letter("large", &[]).attach("a.bin", &file).mail());
    client.expect("250");
    post.has("docs", "large");
    assert_eq!(post.server.cat("docs", 1, "a.bin"), file);
    assert!(post.server.items("news").is_empty());
    until("nothing is left of what was given up", SOON, || drafts(&post.server) == 0);
    // A client that goes away in the middle leaves nothing either.
    let mut client = post.client();
    client.envelope("ann@example.org", &["news@localhost"]);
    client.say("DATA", "354");
    client.send(&junk);
    until("some of it was written ahead", SOON, || drafts(&post.server) == 1);
    drop(client);
    until("nothing is left", SOON, || drafts(&post.server) == 0);
    assert!(post.server.items("news").is_empty());
}

fn drafts(server: &Server) -> usize {
    server.own("tmp").iter().filter(|name| name.ends_with(".tmp")).count()
}

#[test]
fn addresses_change_without_a_restart() {
    let post = Post::new();
    let _serve = post.serve();
    let mut client = post.client();
    client.say("EHLO c", "250");
    client.say("MAIL FROM:<ann@example.org>", "250");
    client.say("RCPT TO:<fresh@localhost>", "550 5.1.1");
    post.server.list("fresh", "announcements", &[]);
    client.say("RCPT TO:<fresh@localhost>", "250");
    post.server.good(&["list", "set", "fresh", "receive=false"]);
    client.say("RCPT TO:<fresh@localhost>", "550 5.7.1");
    post.server.good(&["list", "delete", "fresh"]);
    client.say("RCPT TO:<fresh@localhost>", "550 5.1.1");
}

#[test]
fn the_service_alone_deposits_and_learns_new_addresses_with_and_without_an_owner() {
    let post = Post::new();
    let mut smtp = Running::spawn(post.server.command(&["smtp"]));
    post.wait();
    assert!(post.client().mail("ann@example.org", &["news@localhost"], &letter("one", &[]).mail()).starts_with("250"));
    assert_eq!(post.server.waiting().len(), 1, "nobody takes it yet");
    assert_eq!(post.server.run().ends(), "1 found: 1 delivered");
    post.server.list("later", "announcements", &[]);
    let is_known = || {
        let mut client = post.client();
        client.say("EHLO c", "250");
        client.say("MAIL FROM:<ann@example.org>", "250");
        client.send("RCPT TO:<later@localhost>\r\n");
        client.reply().unwrap().starts_with("250")
    };
    until("the new list is known", SOON, is_known);
    let watch = post.server.start(&["watch", "--every", "1h"]);
    assert!(post.client().mail("ann@example.org", &["later@localhost"], &letter("two", &[]).mail()).starts_with("250"));
    post.has("later", "two");
    post.server.good(&["list", "delete", "later"]);
    until("it is gone", SOON, || !is_known());
    watch.term();
    assert_eq!(watch.wait(), 0);
    assert!(!smtp.has_ended());
    smtp.term();
    assert_eq!(smtp.wait(), 0);
    post.server.is_settled();
}

#[test]
fn a_stop_lets_a_mail_under_way_come_to_its_end_and_sends_idle_clients_away() {
    let post = Post::new();
    let serve = post.serve();
    let mut idle = post.client();
    idle.say("EHLO c", "250");
    let mut busy = post.client();
    busy.envelope("ann@example.org", &["news@localhost"]);
    busy.say("DATA", "354");
    busy.send("Subject: under way\r\n\r\n");
    serve.term();
    idle.expect("421 4.3.2");
    idle.is_closed();
    busy.send("x\r\n.\r\n");
    busy.expect("250");
    busy.expect("421");
    assert_eq!(serve.wait(), 0);
    // It is in the drop folder, or taken already.
    post.server.ask(&["run"]);
    assert_eq!(post.server.titles("news"), ["under way"]);
}

/// Nothing stands against it: it is an item when it is answered. What needs a file has one, and is an item soon.
#[test]
fn a_mail_goes_straight_into_its_list_or_by_a_file_where_it_needs_one() {
    let post = Post::new();
    post.server.list("asked", "announcements", &["before=[\"/bin/true\"]"]);
    let serve = post.serve();
    let mut client = post.client();
    for number in 0..20 {
        let title = format!("straight {number}");
        let reply = client.mail("ann@example.org", &["news@localhost"], &letter(&title, &[]).mail());
        assert!(reply.starts_with("250"), "{reply}");
        assert!(post.server.titles("news").contains(&title), "{title} is there when it is answered");
    }
    let reply = client.mail("ann@example.org", &["asked@localhost"], &letter("by file", &[]).mail());
    assert!(reply.starts_with("250"), "{reply}");
    post.has("asked", "by file");
    let sheets = post.server.objects(&["history", "--json"]);
    assert!(sheets.iter().all(|sheet| sheet["balanced"] == true), "{sheets:?}");
    serve.term();
    assert_eq!(serve.wait(), 0);
    let delivered: u64 =
        post.server.objects(&["history", "--json"]).iter().map(|sheet| number(&sheet["delivered"])).sum();
    assert_eq!(delivered, 21, "each is in one sheet");
    assert_eq!(post.server.titles("news").len(), 20);
    post.server.is_settled();
}

/// A service that cannot go on ends, for its manager to start it anew; it does not stay and do nothing.
#[test]
fn a_service_whose_drop_folder_goes_away_ends_with_an_error() {
    let post = Post::new();
    let serve = post.serve();
    assert!(post.client().mail("ann@example.org", &["news@localhost"], &letter("one", &[]).mail()).starts_with("250"));
    fs::rename(post.server.drop_folder(), post.server.path("away")).unwrap();
    let _ = post.client().mail("ann@example.org", &["news@localhost"], &letter("two", &[]).mail());
    assert_eq!(serve.wait(), 1);
}

#[test]
fn metrics_are_served_on_loopback() {
    let metrics = own_address();
    let post = Post::with(&format!("metrics = \"{metrics}\""), "");
    let _serve = post.serve();
    post.client().mail("ann@example.org", &["news@localhost"], &letter("counted", &[]).mail());
    post.has("news", "counted");
    let mut client = post.client();
    client.say("EHLO c", "250");
    client.say("MAIL FROM:<ann@example.org>", "250");
    client.say("RCPT TO:<nobody@localhost>", "550");
    let fetch = || {
        let mut stream = TcpStream::connect(&metrics).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    until("the batch is counted", SOON, || fetch().contains("\nmailmill_batch_delivered 1\n"));
    let text = fetch();
    for line in [
        "HTTP/1.1 200 OK",
        "mailmill_smtp_mails_accepted_total 1",
        "mailmill_smtp_refused_total{reply=\"550 5.1.1\"} 1",
        "mailmill_smtp_connections_open 1",
        "mailmill_drop_files 0",
        "mailmill_store_stall 0",
    ] {
        assert!(text.lines().any(|known| known == line), "{line} in {text}");
    }
}

/// As systemd does it (`sd_listen_fds(3)`): the port is open before the program runs, under descriptor 3.
#[test]
fn a_port_that_a_service_manager_opened_is_taken_over() {
    const MANAGER: &str = "import os, socket, sys
listening = socket.socket()
host, port = sys.argv[1].split(':')
listening.bind((host, int(port)))
listening.listen()
os.dup2(listening.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='lmtp')
os.execv(sys.argv[2], sys.argv[2:])
";
    let post = Post::new();
    let handed = own_address();
    let serve = post.server.command(&["serve", "--every", "1h"]);
    let mut command = std::process::Command::new("python3");
    command.args(["-c", MANAGER, &handed]).arg(serve.get_program()).args(serve.get_args());
    if system("python3", &["-c", ""]).is_err() {
        return skipped("python3 is not installed");
    }
    let _running = Running::spawn(command);
    until("it listens", SOON, || TcpStream::connect(&handed).is_ok());
    let mut client = Client::new(TcpStream::connect(&handed).unwrap());
    client.say("LHLO c", "250");
    client.say("MAIL FROM:<ann@example.org>", "250");
    client.say("RCPT TO:<news@localhost>", "250");
    client.say("DATA", "354");
    client.data(&letter("handed over", &[]).mail());
    client.expect("250");
    post.has("news", "handed over");
    assert!(TcpStream::connect(&post.address).is_err(), "what is handed over replaces what is configured");
}
