//! What `mailmill doctor` says of the SMTP service: ports, the certificate and its dates, and what the DNS says of us. Asks, and
//! changes nothing.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RData;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::tls::Tls;
use crate::config::{Config, Smtp, host_name};
use crate::spool::Check;

/// A port that does not answer in this time answers nobody.
const PATIENCE: Duration = Duration::from_secs(2);

/// A certificate that ends sooner is a warning: renewal has failed by then.
const SOON: i64 = 14 * 24 * 3600;

pub fn check_up(config: &Config) -> Vec<Check> {
    let mut checks: Vec<Check> = ports(&config.smtp);
    checks.extend(certificate(&config.smtp));
    checks.extend(names(config));
    checks
}

// ports

fn ports(smtp: &Smtp) -> Vec<Check> {
    let plain = smtp.listen.iter().chain(smtp.lmtp.iter().filter(|address| !address.contains('/')));
    let mut checks: Vec<Check> = plain.map(|address| port(address)).collect();
    checks.extend(smtp.listen_tls.iter().map(|address| match TcpStream::connect(address) {
        Ok(_) => Check::good("smtp-port", format!("somebody listens at {address} for TLS")),
        Err(_) => unheard(address),
    }));
    checks.extend(smtp.lmtp.iter().filter(|path| path.contains('/')).map(|path| match UnixStream::connect(path) {
        Ok(_) => Check::good("smtp-port", format!("somebody listens at {path}")),
        Err(_) => {
            Check::good("smtp-port", format!("nobody listens at {path}; `mailmill serve` or `mailmill smtp` does"))
        }
    }));
    checks
}

fn port(address: &str) -> Check {
    match greeting(address) {
        Some(line) if line.contains("mailmill") => {
            Check::good("smtp-port", format!("mailmill listens at {address}: {}", line.trim_end()))
        }
        Some(line) => Check::bad(
            "smtp-port",
            format!(
                "another mail server has {address} ({}); stop it, or give `smtp.listen` another port",
                line.trim_end()
            ),
        ),
        None => unheard(address),
    }
}

/// Nobody answers: could we?
fn unheard(address: &str) -> Check {
    match TcpListener::bind(address) {
        Ok(_) => {
            Check::good("smtp-port", format!("{address} is free; `mailmill serve` or `mailmill smtp` listens there"))
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Check::warning(
            "smtp-port",
            format!(
                "{address}: {error}; ports below 1024 are for root: let systemd open it (deploy/mailmill-serve.socket)"
            ),
        ),
        Err(error) => Check::bad("smtp-port", format!("{address} cannot be listened at: {error}")),
    }
}

fn greeting(address: &str) -> Option<String> {
    let at = address.to_socket_addrs().ok()?.next()?;
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut buffer = [0; 512];
    let count = stream.read(&mut buffer).unwrap_or_default();
    let _ = stream.write_all(b"QUIT\r\n");
    Some(String::from_utf8_lossy(buffer.get(..count)?).into_owned())
}

// certificate

fn certificate(smtp: &Smtp) -> Option<Check> {
    if smtp.certificate.as_os_str().is_empty() {
        return None;
    }
    let path = smtp.certificate.display();
    if let Err(error) = Tls::open(&smtp.certificate, &smtp.key) {
        return Some(Check::bad("certificate", format!("it cannot be used: {error}")));
    }
    let first = CertificateDer::pem_file_iter(&smtp.certificate).ok().and_then(|mut chain| chain.next()?.ok())?;
    let Ok((_, parsed)) = X509Certificate::from_der(&first) else {
        return Some(Check::bad("certificate", format!("{path} cannot be read")));
    };
    let now = jiff::Timestamp::now().as_second();
    let (start, end) = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
    let until = jiff::Timestamp::from_second(end).map(|end| end.to_string()).unwrap_or_default();
    Some(if now > end {
        Check::bad("certificate", format!("{path} ended at {until}; renew it, the service reads it anew by itself"))
    } else if now < start {
        Check::bad("certificate", format!("{path} does not hold yet; is the clock right?"))
    } else if end - now < SOON {
        Check::warning("certificate", format!("{path} ends at {until}; renew it, the service reads it anew by itself"))
    } else {
        Check::good("certificate", format!("{path} holds until {until}"))
    })
}

// names

/// What the world sees of us. Nothing is asked where only this machine is spoken to.
fn names(config: &Config) -> Vec<Check> {
    let (smtp, domains) = (&config.smtp, &config.incoming.accepted_domains);
    let name = if smtp.host_name.is_empty() { host_name() } else { smtp.host_name.clone() };
    if smtp.host_name.is_empty() && domains.is_empty() {
        return Vec::new();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return Vec::new() };
    runtime.block_on(async {
        let Ok(resolver) = super::names::resolver(&config.incoming.name_servers) else {
            return vec![Check::warning(
                "dns",
                "name servers cannot be asked (see /etc/resolv.conf, or incoming.name_servers)",
            )];
        };
        let mut checks = Vec::new();
        let asked = tokio::time::timeout(PATIENCE, async {
            checks.push(host(&resolver, &name).await);
            for domain in domains {
                checks.push(exchanger(&resolver, domain, &name).await);
            }
        });
        if asked.await.is_err() {
            checks.push(Check::warning("dns", "the resolver does not answer in time; the rest was not asked"));
        }
        checks
    })
}

/// The service name must lead to an address, and the address back to the name: other mail servers look.
async fn host(resolver: &TokioResolver, name: &str) -> Check {
    let Ok(found) = resolver.lookup_ip(name).await else {
        return Check::warning("dns-host", format!("{name} has no address record; other mail servers cannot find it"));
    };
    let Some(address) = found.iter().next() else {
        return Check::warning("dns-host", format!("{name} has no address record"));
    };
    let reverse = resolver.reverse_lookup(address).await;
    let leads_back = reverse.is_ok_and(|reverse| {
        reverse.answers().iter().any(|record| match &record.data {
            RData::PTR(back) => back.to_string().trim_end_matches('.').eq_ignore_ascii_case(name),
            _ => false,
        })
    });
    if leads_back {
        Check::good("dns-host", format!("{name} is {address}, and {address} is {name}"))
    } else {
        Check::warning("dns-host", format!("{name} is {address}, but the reverse name of {address} is not {name}"))
    }
}

/// Mail for a domain goes to its MX, else to the address of its own name (RFC 5321 section 5.1).
async fn exchanger(resolver: &TokioResolver, domain: &str, name: &str) -> Check {
    let found = resolver.mx_lookup(domain).await;
    let exchangers: Vec<String> = found.map_or_else(
        |_| Vec::new(),
        |found| {
            let names = found.answers().iter().filter_map(|record| match &record.data {
                RData::MX(mx) => Some(mx.exchange.to_string().trim_end_matches('.').to_lowercase()),
                _ => None,
            });
            names.collect()
        },
    );
    if exchangers.iter().any(|exchanger| exchanger.eq_ignore_ascii_case(name)) {
        return Check::good("dns-mx", format!("mail for {domain} goes to {name}"));
    }
    if !exchangers.is_empty() {
        let text =
            format!("mail for {domain} goes to {}; does that server pass it on to {name}?", exchangers.join(", "));
        return Check::good("dns-mx", text);
    }
    match resolver.lookup_ip(domain).await {
        Ok(_) => Check::good("dns-mx", format!("{domain} has no MX record; its mail goes to its address")),
        Err(_) => {
            Check::warning("dns-mx", format!("{domain} has neither MX nor address record: no mail will come for it"))
        }
    }
}
