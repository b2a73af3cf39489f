//! LMTP (RFC 2033), by a unix socket and by a port: a reply for each recipient.

use crate::client::*;
use crate::common::*;

#[test]
fn lmtp_answers_each_recipient_by_socket_and_by_port() {
    let port = own_address();
    let post = Post::new();
    let socket = post.server.path("lmtp.sock");
    post.server.configure(&format!(
        "[smtp]\nlisten = [\"{}\"]\nlmtp = [\"{port}\", \"{}\"]\n",
        post.address,
        socket.display()
    ));
    post.server.list("docs", "document-library", &[]);
    let serve = post.serve();
    let by_port = || Client::new(std::net::TcpStream::connect(&port).unwrap());
    for (name, mut client) in [("by socket", Client::unix(&socket)), ("by port", by_port())] {
        client.say("EHLO c", "500");
        client.say("LHLO c.example", "250");
        client.say("MAIL FROM:<ann@example.org>", "250");
        client.say("RCPT TO:<news@localhost>", "250");
        client.say("RCPT TO:<nobody@localhost>", "550 5.1.1");
        client.say("RCPT TO:<docs@localhost>", "250");
        client.say("DATA", "354");
        client.data(&letter(name, &[]).mail());
        client.expect("250");
        client.expect("250");
        client.say("QUIT", "221");
        post.has("news", name);
        post.has("docs", name);
    }
    // What comes by LMTP has the trace of who gave it to us, and none of ours: sent again, it is known.
    let mail = letter("twice", &[]).mail();
    for _ in 0..2 {
        let mut client = Client::unix(&socket);
        client.say("LHLO c", "250");
        client.say("MAIL FROM:<ann@example.org>", "250");
        client.say("RCPT TO:<news@localhost>", "250");
        client.say("DATA", "354");
        client.data(&mail);
        client.expect("250");
    }
    post.has("news", "twice");
    serve.term();
    assert_eq!(serve.wait(), 0);
    post.server.ask(&["run"]);
    assert_eq!(post.server.titles("news").iter().filter(|title| *title == "twice").count(), 1);
    // The socket of one that was killed is taken over.
    let serve = post.serve();
    serve.kill();
    let _serve = post.serve();
    Client::unix(&socket).say("LHLO c", "250");
}
