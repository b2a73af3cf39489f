//! STARTTLS, TLS from the first byte, certificates that change, and passwords.

use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::client::*;
use crate::common::*;

/// A certificate for mill.example that signs itself.
fn certify(server: &Server) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["mill.example".to_owned()]).unwrap();
    let (certificate, key) = (server.path("cert.pem"), server.path("key.pem"));
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    (certificate, key)
}

/// TLS over a connection, with this certificate and no other.
fn wrap(stream: TcpStream, certificate: &PathBuf) -> Client {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("mill.example").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    Client::over(Box::new(StreamOwned::new(connection, stream)))
}

#[track_caller]
fn start_tls(post: &Post, certificate: &PathBuf) -> Client {
    let stream = TcpStream::connect(&post.address).unwrap();
    let mut plain = Client::new(stream.try_clone().unwrap());
    let ehlo = plain.say("EHLO c", "250");
    assert!(ehlo.contains("STARTTLS") && !ehlo.contains("AUTH"), "{ehlo}");
    plain.say("STARTTLS", "220");
    wrap(stream, certificate)
}

/// A service with a certificate and these settings besides.
fn secured(settings: &str) -> (Post, PathBuf, String) {
    let post = Post::new();
    let (certificate, key) = certify(&post.server);
    let implicit = own_address();
    post.server.configure(&format!(
        "[smtp]\nlisten = [\"{}\"]\nlisten_tls = [\"{implicit}\"]\ncertificate = \"{}\"\nkey = \"{}\"\n{settings}\n",
        post.address,
        certificate.display(),
        key.display()
    ));
    (post, certificate, implicit)
}

fn hash(password: &str) -> String {
    let mut child = mailmill().arg("password").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn mail_comes_by_starttls_and_by_tls_from_the_first_byte() {
    let (post, certificate, implicit) = secured("require_tls = true");
    let _serve = post.serve();
    let mut client = post.client();
    client.say("EHLO c", "250");
    client.say("MAIL FROM:<ann@example.org>", "530 5.7.0");
    let mut client = start_tls(&post, &certificate);
    // All was forgotten with the handshake.
    client.say("MAIL FROM:<ann@example.org>", "503 5.5.1");
    client.say("STARTTLS", "503");
    assert!(client.mail("ann@example.org", &["news@localhost"], &letter("starttls", &[]).mail()).starts_with("250"));
    let mut client = wrap(TcpStream::connect(&implicit).unwrap(), &certificate);
    client.expect("220");
    assert!(client.mail("ann@example.org", &["news@localhost"], &letter("implicit", &[]).mail()).starts_with("250"));
    post.has("news", "starttls");
    post.has("news", "implicit");
}

#[test]
fn what_is_sent_ahead_of_the_handshake_is_never_a_command() {
    let (post, certificate, _) = secured("");
    let _serve = post.serve();
    let stream = TcpStream::connect(&post.address).unwrap();
    let mut plain = Client::new(stream.try_clone().unwrap());
    plain.say("EHLO c", "250");
    plain.send("STARTTLS\r\nRSET\r\nEHLO injected\r\nMAIL FROM:<evil@example.org>\r\n");
    plain.expect("220");
    let mut client = wrap(stream, &certificate);
    // The first answer within TLS is to the first command within TLS.
    client.say("NOOP", "250 2.0.0");
    client.say("MAIL FROM:<ann@example.org>", "503 5.5.1");
}

#[test]
fn a_new_certificate_is_used_without_a_restart_and_a_broken_one_is_not() {
    let (post, certificate, _) = secured("");
    let _serve = post.serve();
    start_tls(&post, &certificate).say("NOOP", "250");
    // Time stamps of files are coarse.
    std::thread::sleep(std::time::Duration::from_millis(20));
    certify(&post.server);
    start_tls(&post, &certificate).say("NOOP", "250");
    let good = std::fs::read(&certificate).unwrap();
    let kept = post.server.path("kept.pem");
    std::fs::write(&kept, good).unwrap();
    std::fs::write(&certificate, "no certificate").unwrap();
    start_tls(&post, &kept).say("NOOP", "250");
}

#[test]
fn passwords_are_asked_for_under_tls_and_mail_may_need_one() {
    let settings = format!("authenticated_only = true\nusers = {{ ann = \"{}\" }}", hash("secret"));
    let (post, certificate, _) = secured(&settings);
    let _serve = post.serve();
    let mut client = post.client();
    client.say("EHLO c", "250");
    client.say("AUTH PLAIN AGFubgBzZWNyZXQ=", "538");
    client.say("MAIL FROM:<ann@example.org>", "530 5.7.0");
    let mut client = start_tls(&post, &certificate);
    let ehlo = client.say("EHLO c", "250");
    assert!(ehlo.contains("AUTH PLAIN LOGIN") && !ehlo.contains("STARTTLS"), "{ehlo}");
    client.say("MAIL FROM:<ann@example.org>", "530 5.7.0");
    client.say("AUTH PLAIN AGFubgB3cm9uZw==", "535 5.7.8");
    client.say("AUTH LOGIN", "334 VXNlcm5hbWU6");
    client.say("YW5u", "334 UGFzc3dvcmQ6");
    client.say("c2VjcmV0", "235");
    assert!(client.mail("ann@example.org", &["news@localhost"], &letter("known", &[]).mail()).starts_with("250"));
    post.has("news", "known");
}

#[test]
fn settings_that_cannot_be_are_refused_with_their_line() {
    let server = Server::new();
    for (settings, part) in [
        ("require_tls = true", "needs TLS"),
        ("certificate = \"c.pem\"", "belong together"),
        ("users = { ann = \"secret\" }\ncertificate = \"c\"\nkey = \"k\"", "mailmill password"),
        ("relay_list = [\"300.0.0.1\"]", "is no machine"),
        ("metrics = \"0.0.0.0:9125\"", "loopback"),
        ("bounces = true", "smart_host"),
        ("max_sise = 1", "max_size"),
        ("safe_servers = [\"192.0.2.1\"]", "automatic"),
    ] {
        server.configure(&format!("[smtp]\n{settings}\n"));
        server.ask(&["smtp"]).ends(2).says(part);
    }
    // A port that somebody has, and a certificate that is none.
    let address = own_address();
    let _taken = std::net::TcpListener::bind(&address).unwrap();
    server.configure(&format!("[smtp]\nlisten = [\"{address}\"]\n"));
    server.ask(&["smtp"]).ends(2).says(&address);
    server.configure("[smtp]\nlisten = []\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n");
    server.ask(&["serve"]).ends(2).says("c.pem");
}

/// The real openssl, where it is installed: another reading of the same RFC.
#[test]
fn openssl_shakes_hands_by_starttls() {
    let (post, certificate, _) = secured("");
    let _serve = post.serve();
    let command = Command::new("openssl")
        .args(["s_client", "-starttls", "smtp", "-verify_return_error", "-verify_hostname", "mill.example", "-CAfile"])
        .arg(&certificate)
        .args(["-connect", &post.address])
        .stdin(Stdio::null())
        .output();
    let Ok(output) = command else { return skipped("openssl is not installed") };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("Verify return code: 0 (ok)"), "{text}");
}

#[test]
fn the_doctor_looks_at_ports_and_at_the_certificate() {
    let (post, certificate, _) = secured("");
    let check = |name: &str| {
        let checks = post.server.ask(&["doctor", "--json"]).objects();
        let found = checks.into_iter().find(|check| check["check"] == name);
        found.unwrap_or_else(|| panic!("no check {name}"))
    };
    assert_eq!(check("certificate")["state"], "good");
    assert!(text(&check("smtp-port")["text"]).contains("is free"));
    let serve = post.serve();
    assert!(text(&check("smtp-port")["text"]).contains("mailmill listens"));
    serve.kill();
    let other = std::net::TcpListener::bind(&post.address).unwrap();
    std::thread::spawn(move || {
        other.incoming().flatten().for_each(|mut stream| drop(stream.write_all(b"220 other ESMTP Sendmail\r\n")));
    });
    assert_eq!(check("smtp-port")["state"], "bad");
    // One that has ended, and one that is none.
    let mut old = rcgen::CertificateParams::new(vec!["mill.example".to_owned()]).unwrap();
    old.not_before = rcgen::date_time_ymd(2020, 1, 1);
    old.not_after = rcgen::date_time_ymd(2020, 2, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(&certificate, old.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(post.server.path("key.pem"), key.serialize_pem()).unwrap();
    let ended = check("certificate");
    assert!(ended["state"] == "bad" && text(&ended["text"]).contains("2020-02-01"), "{ended}");
    std::fs::write(&certificate, "none").unwrap();
    assert!(text(&check("certificate")["text"]).contains("cannot be used"));
}
