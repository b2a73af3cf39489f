//! What is refused, with which words, and that nothing of it ever arrives.

use std::net::TcpStream;
use std::time::Duration;

use crate::client::*;
use crate::common::*;

/// Nothing came in, and nothing waits.
#[track_caller]
fn nothing_came(post: &Post) {
    assert!(post.server.items("news").is_empty());
    assert_eq!(post.server.waiting(), [""; 0]);
}

#[test]
fn recipients_are_refused_as_routing_would_refuse_them() {
    let post = Post::new();
    post.server.list("off", "announcements", &["receive=false"]);
    post.server.list("closed", "announcements", &["senders=members", "members=[\"bob@example.org\"]"]);
    post.server.list("small", "announcements", &["max_size=1000"]);
    let _serve = post.serve();
    let mut client = post.client();
    client.say("EHLO c.example", "250");
    client.say("MAIL FROM:<ann@example.org> SIZE=99999999999", "552 5.3.4");
    client.say("MAIL FROM:<ann@example.org> SIZE=1001", "250");
    for (recipient, reply) in [
        ("nobody@localhost", "550 5.1.1"),
        ("off@localhost", "550 5.7.1"),
        ("closed@localhost", "550 5.7.1"),
        ("small@localhost", "552 5.3.4"),
        ("news@elsewhere.example", "550 5.7.1"),
        ("news%elsewhere.example@localhost", "550 5.1.1"),
        ("@localhost:news@elsewhere.example", "550 5.7.1"),
        ("postmaster", "550 5.1.1"),
        ("", "501 5.1.3"),
        ("news", "501 5.1.3"),
    ] {
        client.say(&format!("RCPT TO:<{recipient}>"), reply);
    }
    client.say("DATA", "554 5.5.1");
    client.say("VRFY news", "252");
    client.say("EXPN news", "252");
    nothing_came(&post);
    // One good recipient among bad ones gets the mail.
    client.say("RCPT TO:<news@localhost>", "250");
    client.say("RCPT TO:<nobody@localhost>", "550");
    client.say("DATA", "354");
    client.data(&letter("for one", &[]).mail());
    client.expect("250");
    post.has("news", "for one");
}

#[test]
fn a_smuggled_mail_never_arrives() {
    let post = Post::with("", "");
    let serve = post.serve();
    for end in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r\n", "\r\n.\r\r\n", "\n\n.\r\n"] {
        let mut client = post.client();
        client.envelope("ann@example.org", &["news@localhost"]);
        client.say("DATA", "354");
        client.send(format!(
            "Subject: outer\r\n\r\nx{end}MAIL FROM:<evil@example.org>\r\nRCPT TO:<news@localhost>\r\nDATA\r\nSubject: smuggled\r\n\r\ny\r\n.\r\n"
        ));
        client.expect("550 5.6.0");
        client.is_closed();
    }
    serve.term();
    assert_eq!(serve.wait(), 0);
    nothing_came(&post);
}

#[test]
fn a_mail_that_turns_out_too_large_is_refused_and_nothing_of_it_stays() {
    let post = Post::with("max_size = \"1MiB\"", "");
    let _serve = post.serve();
    let mut client = post.client();
    client.envelope("ann@example.org", &["news@localhost"]);
    client.say("DATA", "354");
    let line = "z".repeat(998) + "\r\n";
    for _ in 0..1100 {
        client.send(&line);
    }
    client.send(".\r\n");
    client.expect("552 5.3.4");
    client.say("NOOP", "250");
    nothing_came(&post);
    until("no draft stays", SOON, || post.server.own("tmp").iter().all(|name| !name.ends_with(".tmp")));
}

#[test]
fn limits_on_errors_commands_lines_recipients_and_connections_hold() {
    let post = Post::with("errors = 3\ncommands = 10\nline_length = 512\nrecipients = 2\nconnections = 2", "");
    let _serve = post.serve();
    // The one that waited for the service may still be on its way out.
    until("all is quiet", SOON, || {
        let (one, two) = (TcpStream::connect(&post.address).unwrap(), TcpStream::connect(&post.address).unwrap());
        [one, two].into_iter().all(|stream| {
            stream.set_read_timeout(Some(SOON)).unwrap();
            Client::over(Box::new(stream)).reply().is_some_and(|reply| reply.starts_with("220"))
        })
    });
    std::thread::sleep(Duration::from_millis(100));
    let mut client = post.client();
    for _ in 0..3 {
        client.say("WHAT", "500");
    }
    client.say("WHAT", "500");
    client.expect("421 4.7.0");
    client.is_closed();
    let mut client = post.client();
    for _ in 0..10 {
        client.say("NOOP", "250");
    }
    client.say("NOOP", "421 4.7.0");
    let mut client = post.client();
    client.say(&format!("NOOP {}", "x".repeat(600)), "500 5.5.2");
    client.say("EHLO c", "250");
    client.say("MAIL FROM:<ann@example.org>", "250");
    client.say("RCPT TO:<news@localhost>", "250");
    client.say("RCPT TO:<news@localhost>", "250");
    client.say("RCPT TO:<news@localhost>", "452 4.5.3");
    let _second = post.client();
    let third = TcpStream::connect(&post.address).unwrap();
    Client::over(Box::new(third)).expect("421 4.7.0");
}

#[test]
fn silent_and_slow_clients_are_sent_away() {
    let post = Post::with("idle_time = \"1s\"\nmail_time = \"3s\"", "");
    let _serve = post.serve();
    let mut silent = post.client();
    silent.expect("421 4.4.2");
    silent.is_closed();
    // A byte now and then is no mail.
    let mut slow = post.client();
    slow.envelope("ann@example.org", &["news@localhost"]);
    slow.say("DATA", "354");
    let begin = std::time::Instant::now();
    while begin.elapsed() < Duration::from_secs(4) {
        if std::io::Write::write_all(&mut slow.wire, b"x").is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(slow.reply().is_none_or(|reply| reply.starts_with("421 4.4.2")));
    nothing_came(&post);
}

#[test]
fn machines_are_let_in_by_address_and_by_confirmed_name() {
    for (settings, before, reply) in [
        ("relay_list = [\"127.0.0.0/8\"]", "", "550 5.7.1"),
        ("relay = \"only\"\nrelay_list = [\"192.0.2.0/24\", \"2001:db8::/32\"]", "", "550 5.7.1"),
        ("relay = \"only\"\nrelay_list = [\"127.0.0.0/255.0.0.0\"]", "", "250"),
        // No machine of the test network has this name.
        ("relay = \"only\"\nrelay_list = [\"example.org\"]", "", "550 5.7.1"),
        ("safe_servers = [\"192.0.2.1\"]", "[incoming]\nmode = \"automatic\"", "550 5.7.1"),
        ("safe_servers = [\"127.0.0.0/8\"]", "[incoming]\nmode = \"automatic\"", "250"),
    ] {
        let post = Post::with(settings, before);
        let _serve = post.serve();
        let mut client = post.client();
        client.say("EHLO c", "250");
        client.say("MAIL FROM:<ann@example.org>", reply);
    }
}

#[test]
fn switched_off_is_said_to_senders_and_mail_that_lies_there_stays() {
    let post = Post::with("", "[incoming]\nenabled = false");
    let mut running = Running::spawn(post.server.command(&["serve"]));
    post.wait();
    let stream = TcpStream::connect(&post.address).unwrap();
    let mut client = Client::over(Box::new(stream));
    client.expect("421 4.3.2");
    client.is_closed();
    post.server.put("x.eml", letter("x", &["news"]));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(post.server.waiting(), ["x.eml"]);
    assert!(!running.has_ended());
    running.term();
    assert_eq!(running.wait(), 0);
}

#[test]
fn mail_to_postmaster_goes_where_it_is_said_to() {
    let post = Post::with("postmaster = \"news\"", "");
    let _serve = post.serve();
    post.client().mail("ann@example.org", &["Postmaster"], &letter("to postmaster", &[]).mail());
    post.client().mail("", &["postmaster@mill.example"], &letter("to postmaster too", &[]).mail());
    post.has("news", "to postmaster");
    post.has("news", "to postmaster too");
}

#[test]
fn mail_of_a_domain_that_is_not_ours_yet_waits_and_is_judged_when_it_is() {
    let post = Post::with("queue_domains = [\"later.example\"]", "");
    let serve = post.serve();
    let reply = post.client().mail(
        "ann@example.org",
        &["news@later.example", "nobody@later.example", "news@localhost"],
        &letter("for both", &[]).mail(),
    );
    assert!(reply.starts_with("250"));
    post.has("news", "for both");
    assert_eq!(post.server.own("queue").len(), 1);
    serve.term();
    assert_eq!(serve.wait(), 0);
    post.server.configure(&format!(
        "[incoming]\naccepted_domains = [\"later.example\"]\n[smtp]\nlisten = [\"{}\"]\n",
        post.address
    ));
    let _serve = post.serve();
    until("it was let go", SOON, || post.server.items("news").len() == 2);
    until("its other recipient was judged", SOON, || post.server.failed().len() == 1);
    assert_eq!(post.server.own("queue"), [""; 0]);
}

#[test]
fn a_full_disk_is_said_and_nothing_is_lost() {
    let post = Post::new();
    if !is_root() {
        return skipped("a small file system wants root");
    }
    let disk = post.server.path("small-disk");
    std::fs::create_dir(&disk).unwrap();
    if let Err(why) = system("mount", &["-t", "tmpfs", "-o", "size=8M", "tmpfs", disk.to_str().unwrap()]) {
        return skipped(&why);
    }
    let _undo = Undo::by(&["umount", "-l", disk.to_str().unwrap()]);
    let drop = disk.join("drop");
    std::fs::create_dir(&drop).unwrap();
    post.server.configure(&format!(
        "[incoming]\ndrop_folder = \"{}\"\n[smtp]\nlisten = [\"{}\"]\n",
        drop.display(),
        post.address
    ));
    let smtp = Running::spawn(post.server.command(&["smtp"]));
    post.wait();
    let mut client = post.client();
    assert!(client.mail("ann@example.org", &["news@localhost"], &letter("before", &[]).mail()).starts_with("250"));
    // It fills up while a mail is being read, in the middle of what is written ahead.
    client.say("MAIL FROM:<ann@example.org>", "250");
    client.say("RCPT TO:<news@localhost>", "250");
    client.say("DATA", "354");
    client.data(&letter("too much", &[]).attach("a.bin", noise(1, 9_000_000)).mail());
    client.expect("452 4.3.1");
    // And when it is full, that is said at once.
    std::fs::write(disk.join("filler"), noise(2, 6_000_000)).unwrap();
    until("it is noticed", SOON, || {
        client.send("RSET\r\nMAIL FROM:<ann@example.org> SIZE=1000\r\n");
        client.expect("250");
        client.reply().unwrap().starts_with("452 4.3.1")
    });
    std::fs::remove_file(disk.join("filler")).unwrap();
    until("there is room again", SOON, || {
        client.send("RSET\r\nMAIL FROM:<ann@example.org> SIZE=1000\r\n");
        client.expect("250");
        client.reply().unwrap().starts_with("250")
    });
    client.say("RCPT TO:<news@localhost>", "250");
    client.say("DATA", "354");
    client.data(&letter("after", &[]).mail());
    client.expect("250");
    smtp.term();
    assert_eq!(smtp.wait(), 0);
    let sheet = post.server.run();
    assert_eq!(sheet.ends(), "2 found: 2 delivered");
    let mut titles = post.server.titles("news");
    titles.sort();
    assert_eq!(titles, ["after", "before"]);
}
