//! The section `[smtp]`: how mail may come in by itself. README has the table.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{duration, size};

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Smtp {
    /// Addresses with ports for ESMTP.
    pub listen: Vec<String>,
    /// The same with TLS from the first byte (RFC 8314).
    pub listen_tls: Vec<String>,
    /// LMTP (RFC 2033): addresses with ports, or paths of unix sockets.
    pub lmtp: Vec<String>,
    /// Our name in greetings; empty: the machine's.
    pub host_name: String,
    /// PEM files; without them there is no TLS and no AUTH.
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub require_tls: bool,
    /// Name -> Argon2 hash.
    pub users: BTreeMap<String, String>,
    pub authenticated_only: bool,
    /// The only machines that may send, in automatic mode.
    pub safe_servers: Vec<String>,
    pub relay: Relay,
    pub relay_list: Vec<String>,
    /// Domains that are not ours yet: their mail waits.
    pub queue_domains: Vec<String>,
    /// The list address that gets mail to `postmaster`.
    pub postmaster: String,
    #[serde(deserialize_with = "size")]
    pub max_size: u64,
    /// Our `Received` field is put on top of mail that comes by SMTP.
    pub received: bool,
    pub connections: usize,
    /// From one address; this machine's own are not counted.
    pub connections_per_address: usize,
    /// Mails a minute from one address; 0: any number. This machine's own are not counted.
    pub rate_per_address: u32,
    pub recipients: usize,
    /// Commands between two mails.
    pub commands: u32,
    pub errors: u32,
    /// Bytes of a command line.
    pub line_length: usize,
    /// The longest silence of a client.
    #[serde(deserialize_with = "duration")]
    pub idle_time: Duration,
    /// The longest that one mail may take, from MAIL to its end.
    #[serde(deserialize_with = "duration")]
    pub mail_time: Duration,
    /// How long a stop waits for mail that is under way.
    #[serde(deserialize_with = "duration")]
    pub stop_time: Duration,
    /// A loopback address with a port for Prometheus; empty: none.
    pub metrics: String,
    pub bounces: bool,
    /// Where bounces are sent to.
    pub smart_host: String,
    /// Bounces a minute.
    pub bounce_rate: u32,
}

/// How `relay_list` is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Relay {
    /// Every machine may send but those of the list.
    #[default]
    AllExcept,
    /// Only the machines of the list may.
    Only,
}

impl Default for Smtp {
    fn default() -> Self {
        Self {
            listen: vec!["127.0.0.1:2525".to_owned()],
            listen_tls: Vec::new(),
            lmtp: Vec::new(),
            host_name: String::new(),
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            require_tls: false,
            users: BTreeMap::new(),
            authenticated_only: false,
            safe_servers: Vec::new(),
            relay: Relay::default(),
            relay_list: Vec::new(),
            queue_domains: Vec::new(),
            postmaster: String::new(),
            max_size: 50 << 20,
            received: true,
            connections: 1000,
            connections_per_address: 50,
            rate_per_address: 600,
            recipients: 1000,
            commands: 2000,
            errors: 20,
            line_length: 4096,
            idle_time: Duration::from_mins(5),
            mail_time: Duration::from_mins(30),
            stop_time: Duration::from_secs(10),
            metrics: String::new(),
            bounces: false,
            smart_host: String::new(),
            bounce_rate: 10,
        }
    }
}

/// Some machines: one, a subnet, or all whose name lies below a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Machines {
    Subnet { address: IpAddr, bits: u8 },
    Domain(String),
}

impl Machines {
    /// `192.0.2.1`, `192.0.2.0/24`, `192.0.2.0/255.255.255.0`, `2001:db8::/32`, `example.org`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let wrong = || format!("`{text}` is no machine: write an address, a subnet (192.0.2.0/24) or a domain");
        let (head, mask) = text.split_once('/').map_or((text, None), |(head, mask)| (head, Some(mask)));
        let Ok(address) = head.parse::<IpAddr>() else {
            let labels = text.trim_start_matches("*.").trim_start_matches('.');
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            let sound = mask.is_none() && !labels.is_empty() && labels.chars().all(is_name);
            let numeric = labels.chars().all(|c| c.is_ascii_digit() || c == '.');
            return if sound && !numeric { Ok(Self::Domain(labels.to_lowercase())) } else { Err(wrong()) };
        };
        let whole: u8 = if address.is_ipv4() { 32 } else { 128 };
        let bits = match mask {
            None => whole,
            Some(mask) => bits(mask).filter(|bits| *bits <= whole).ok_or_else(wrong)?,
        };
        Ok(Self::Subnet { address: address.to_canonical(), bits })
    }

    pub fn contains(&self, address: IpAddr, name: Option<&str>) -> bool {
        match (self, address.to_canonical(), name) {
            (Self::Subnet { address: IpAddr::V4(net), bits }, IpAddr::V4(address), _) => {
                let shift = 32 - u32::from(*bits);
                (u64::from(net.to_bits()) >> shift) == (u64::from(address.to_bits()) >> shift)
            }
            (Self::Subnet { address: IpAddr::V6(net), bits }, IpAddr::V6(address), _) => {
                let shift = 128 - u32::from(*bits);
                net.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
            }
            (Self::Domain(domain), _, Some(name)) => {
                let name = name.trim_end_matches('.').to_lowercase();
                name == *domain || name.strip_suffix(domain.as_str()).is_some_and(|above| above.ends_with('.'))
            }
            // Addresses of the other kind, and machines without a name.
            (Self::Subnet { .. } | Self::Domain(_), ..) => false,
        }
    }
}

/// `24`, or a netmask of ones and then zeros.
fn bits(mask: &str) -> Option<u8> {
    if let Ok(bits) = mask.parse() {
        return Some(bits);
    }
    let mask = mask.parse::<std::net::Ipv4Addr>().ok()?.to_bits();
    (mask.leading_ones() + mask.trailing_zeros() == 32 || mask == 0)
        .then(|| u8::try_from(mask.leading_ones()).unwrap_or_default())
}

/// The key at fault and why.
type Fault = (&'static str, String);

impl Smtp {
    /// What must hold between settings.
    pub(super) fn check(&self) -> Result<(), Fault> {
        self.check_hosts()?;
        self.check_tls()?;
        self.check_numbers()
    }

    fn check_hosts(&self) -> Result<(), Fault> {
        for (key, machines) in [("safe_servers", &self.safe_servers), ("relay_list", &self.relay_list)] {
            if let Some(cause) = machines.iter().find_map(|machine| Machines::parse(machine).err()) {
                return Err((key, cause));
            }
        }
        let is_domain = |domain: &String| {
            !domain.is_empty()
                && domain.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '.'))
                && domain.len() < 200
        };
        if let Some(domain) = self.queue_domains.iter().find(|domain| !is_domain(domain)) {
            return Err(("queue_domains", format!("`{domain}` is no domain")));
        }
        let is_loopback = |at: &str| at.parse::<std::net::SocketAddr>().is_ok_and(|at| at.ip().is_loopback());
        if !self.metrics.is_empty() && !is_loopback(&self.metrics) {
            return Err((
                "metrics",
                "metrics must be a loopback address with a port, for example 127.0.0.1:9125".to_owned(),
            ));
        }
        if self.bounces && (self.smart_host.is_empty() || self.bounce_rate == 0) {
            return Err(("bounces", "bounces need a smart_host to send them to, and a bounce_rate above 0".to_owned()));
        }
        Ok(())
    }

    fn check_tls(&self) -> Result<(), Fault> {
        let (certificate, key) = (!self.certificate.as_os_str().is_empty(), !self.key.as_os_str().is_empty());
        if certificate != key {
            let at = if certificate { "certificate" } else { "key" };
            return Err((at, "certificate and key belong together".to_owned()));
        }
        let needs_tls = [
            ("require_tls", self.require_tls),
            ("listen_tls", !self.listen_tls.is_empty()),
            ("users", !self.users.is_empty()),
        ];
        if let Some((at, _)) = needs_tls.iter().find(|(_, set)| *set && !certificate) {
            return Err((at, format!("{at} needs TLS: name a certificate and a key")));
        }
        if self.authenticated_only && self.users.is_empty() {
            return Err(("authenticated_only", "authenticated_only needs users".to_owned()));
        }
        if let Some((name, _)) = self.users.iter().find(|(_, hash)| !hash.starts_with("$argon2")) {
            let text = format!("the password of `{name}` is not a hash; make one with `mailmill password`");
            return Err(("users", text));
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), Fault> {
        let positive = [
            ("max_size", self.max_size),
            ("connections", self.connections as u64),
            ("connections_per_address", self.connections_per_address as u64),
            ("recipients", self.recipients as u64),
            ("commands", u64::from(self.commands)),
            ("idle_time", u64::try_from(self.idle_time.as_millis()).unwrap_or(u64::MAX)),
            ("mail_time", u64::try_from(self.mail_time.as_millis()).unwrap_or(u64::MAX)),
        ];
        if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err((key, format!("smtp.{key} must be more than 0")));
        }
        // RFC 5321 section 4.5.3.1.4 asks for 512 bytes; SMTPUTF8 and AUTH want more.
        if !(512..=65536).contains(&self.line_length) {
            return Err(("line_length", "smtp.line_length must be between 512 and 65536".to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_addresses_subnets_of_both_kinds_and_domains() {
        for (machines, address, name, inside) in [
            ("192.0.2.1", "192.0.2.1", None, true),
            ("192.0.2.1", "::ffff:192.0.2.1", None, true),
            ("192.0.2.1", "192.0.2.2", None, false),
            ("192.0.2.0/24", "192.0.2.200", None, true),
            ("192.0.2.0/25", "192.0.2.200", None, false),
            ("192.0.2.0/255.255.255.0", "192.0.2.200", None, true),
            ("0.0.0.0/0", "203.0.113.9", None, true),
            ("0.0.0.0/0", "2001:db8::1", None, false),
            ("2001:db8::/32", "2001:db8:1::1", None, true),
            ("2001:db8::/32", "2001:db9::1", None, false),
            ("::/0", "2001:db9::1", None, true),
            ("example.org", "192.0.2.1", Some("mail.Example.org."), true),
            ("*.example.org", "192.0.2.1", Some("mail.example.org"), true),
            ("example.org", "192.0.2.1", Some("notexample.org"), false),
            ("example.org", "192.0.2.1", None, false),
        ] {
            let found = Machines::parse(machines).unwrap().contains(address.parse().unwrap(), name);
            assert_eq!(found, inside, "{machines} {address} {name:?}");
        }
        for wrong in
            ["", "192.0.2", "192.0.2.0/33", "::/129", "192.0.2.0/255.0.255.0", "a b", "example.org/24", "192.0.2.1/x"]
        {
            assert!(Machines::parse(wrong).is_err(), "{wrong}");
        }
    }
}
