//! Who may send, and to whom: the machines, the domains that are ours, and the addresses of the lists, from the same snapshot
//! that routes mail. Mail is never relayed: a recipient that is neither ours nor waited for is refused.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::address::{domain_of, quoted};
use super::limits::Rates;
use super::reply::{self, Reply};
use super::session::{Client, Judge, Place, Recipient};
use crate::config::{Config, Machines, Mode, Relay, host_name};
use crate::directory::{Directory, Target, addresses_of};
use crate::model::outcome::Reason;
use crate::pipeline::route;

/// The snapshot of the addresses in force; none while they are not known yet.
pub type Addresses = Arc<dyn Fn() -> Option<Arc<Directory>> + Send + Sync>;

pub struct Policy {
    config: Arc<Config>,
    addresses: Addresses,
    safe: Vec<Machines>,
    listed: Vec<Machines>,
    /// In lower case.
    ours: Vec<String>,
    queued: Vec<String>,
    rates: Rates,
    /// Bytes free for the drop folder when somebody last looked.
    pub room: AtomicU64,
}

/// Mail is refused for the time being when less than this would be left: claims and notes need some room, too.
const ROOM_KEPT: u64 = 4 << 20;

const NOT_SAFE: Reply = Reply::new(550, "5.7.1", "this machine is not among the safe servers");
const NOT_RELAYED: Reply = Reply::new(550, "5.7.1", "this machine may not send mail here");
const NO_RELAY: Reply = Reply::new(550, "5.7.1", "relaying denied: the domain is not ours");
const NO_SUCH_LIST: Reply = Reply::new(550, "5.1.1", "no list has this address");
const DISABLED: Reply = Reply::new(550, "5.7.1", "the list does not receive mail");
const NOT_ALLOWED: Reply = Reply::new(550, "5.7.1", "the list does not accept mail from this sender");
const TOO_MANY_MAILS: Reply = Reply::new(450, "4.7.1", "too many mails in a minute; try again later");

impl Policy {
    pub fn new(config: Arc<Config>, addresses: Addresses) -> Self {
        let smtp = &config.smtp;
        let parse = |machines: &[String]| machines.iter().flat_map(|machine| Machines::parse(machine)).collect();
        let safe = if config.incoming.mode == Mode::Automatic { parse(&smtp.safe_servers) } else { Vec::new() };
        let listed = parse(&smtp.relay_list);
        let ours = our_domains(&config);
        let queued = smtp.queue_domains.iter().map(|domain| domain.to_lowercase()).collect();
        let rates = Rates::new(smtp.rate_per_address);
        Self { config, addresses, safe, listed, ours, queued, rates, room: AtomicU64::new(u64::MAX) }
    }

    /// Whether a decision needs the name of a machine.
    pub fn needs_names(&self) -> bool {
        self.safe.iter().chain(&self.listed).any(|machines| matches!(machines, Machines::Domain(_)))
    }

    pub fn is_ours(&self, domain: &str) -> bool {
        self.ours.iter().any(|ours| ours == domain)
    }

    fn machine(&self, client: &Client, address: IpAddr) -> Result<(), Reply> {
        let among = |machines: &[Machines]| machines.iter().any(|some| some.contains(address, client.name.as_deref()));
        if !self.safe.is_empty() && !among(&self.safe) {
            return Err(NOT_SAFE);
        }
        let only = self.config.smtp.relay == Relay::Only;
        if client.user.is_none() && among(&self.listed) != only {
            return Err(NOT_RELAYED);
        }
        Ok(())
    }

    /// Mail to the people who run the service goes to a list, if one is named for them (RFC 5321 section 4.5.1).
    fn without_alias<'a>(&'a self, recipient: &'a str) -> &'a str {
        let local = recipient.rsplit_once('@').map_or(recipient, |(local, _)| local);
        let named = !self.config.smtp.postmaster.is_empty() && local.eq_ignore_ascii_case("postmaster");
        if named { &self.config.smtp.postmaster } else { recipient }
    }
}

/// By SMTP, where no domain is named, those of this machine alone.
fn our_domains(config: &Config) -> Vec<String> {
    let incoming = &config.incoming;
    if !incoming.accepted_domains.is_empty() {
        return incoming.accepted_domains.iter().map(|domain| domain.to_lowercase()).collect();
    }
    let names = ["localhost".to_owned(), host_name(), config.smtp.host_name.clone(), incoming.display_address.clone()];
    names.into_iter().filter(|name| !name.is_empty()).map(|name| name.to_lowercase()).collect()
}

/// A list says that this very address is its own, whatever the accepted domains are.
fn names_domain(target: &Target<'_>, domain: &str) -> bool {
    addresses_of(target.list).any(|address| domain_of(address) == domain)
}

impl Judge for Policy {
    fn sender(&self, client: &Client, _: &str, size: u64) -> Result<(), Reply> {
        if let Some(address) = client.address {
            self.machine(client, address)?;
            if !address.to_canonical().is_loopback() && !self.rates.allow(address) {
                return Err(TOO_MANY_MAILS);
            }
        }
        if self.room.load(Ordering::Relaxed) < size.saturating_add(ROOM_KEPT) {
            return Err(reply::DISK_FULL);
        }
        Ok(())
    }

    fn recipient(&self, _: &Client, sender: &str, size: u64, recipient: &str) -> Result<Recipient, Reply> {
        let directory = (self.addresses)().ok_or(reply::NOT_READY)?;
        let domain = domain_of(recipient);
        let wanted = self.without_alias(recipient);
        let is_ours = self.is_ours(&domain) || domain.is_empty();
        let found = directory.find(wanted);
        if !is_ours && !found.as_ref().is_some_and(|target| names_domain(target, &domain)) {
            if self.queued.contains(&domain) {
                return Ok(Recipient { address: recipient.to_owned(), place: Place::Queue { domain } });
            }
            return Err(NO_RELAY);
        }
        let target = found.ok_or(NO_SUCH_LIST)?;
        match route::objection(target.list, &quoted(sender), size, &self.config.groups) {
            None => Ok(Recipient { address: wanted.to_owned(), place: Place::Drop }),
            Some(Reason::ListDisabled) => Err(DISABLED),
            Some(Reason::TooLarge) => Err(reply::TOO_LARGE),
            Some(_) => Err(NOT_ALLOWED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::list::{Kind, List, ListId};
    use crate::model::settings::{ListSettings, Senders, Size};

    fn policy(change: impl FnOnce(&mut Config)) -> Policy {
        let mut config = Config::default();
        config.smtp.host_name = "mill.example".to_owned();
        change(&mut config);
        let list = |id, address: &str, change: fn(&mut ListSettings)| {
            let mut settings =
                ListSettings { address: address.to_owned(), senders: Senders::Any, ..ListSettings::default() };
            change(&mut settings);
            List { id: ListId(id), name: format!("list {id}"), kind: Kind::Announcements, settings }
        };
        let lists = vec![
            list(1, "news", |_| ()),
            list(2, "off", |list| list.receive = false),
            list(3, "small", |list| list.max_size = Size(10)),
            list(4, "closed", |list| {
                list.senders = Senders::Members;
                list.members = vec!["ann@a.example".to_owned()];
            }),
            list(5, "own@special.example", |_| ()),
        ];
        let directory = Arc::new(Directory::new(lists, &config.incoming.accepted_domains));
        Policy::new(Arc::new(config), Arc::new(move || Some(Arc::clone(&directory))))
    }

    fn from(address: &str) -> Client {
        Client { address: Some(address.parse().unwrap()), ..Client::default() }
    }

    fn to(policy: &Policy, sender: &str, recipient: &str) -> String {
        match policy.recipient(&Client::default(), sender, 11, recipient) {
            Ok(Recipient { address, place: Place::Drop }) => format!("drop {address}"),
            Ok(Recipient { address, place: Place::Queue { domain } }) => format!("queue {domain} {address}"),
            Err(reply) => format!("{} {}", reply.code, reply.status),
        }
    }

    #[test]
    fn recipients_are_judged_as_routing_will_and_nothing_is_relayed() {
        let policy = policy(|config| {
            config.smtp.queue_domains = vec!["Later.example".to_owned()];
            config.smtp.postmaster = "news".to_owned();
        });
        for (sender, recipient, said) in [
            ("ann@a.example", "News@localhost", "drop News@localhost"),
            ("ann@a.example", "news+x@MILL.example", "drop news+x@MILL.example"),
            ("ann@a.example", "nobody@localhost", "550 5.1.1"),
            ("ann@a.example", "news@elsewhere.example", "550 5.7.1"),
            ("ann@a.example", "own@special.example", "drop own@special.example"),
            ("ann@a.example", "news@special.example", "550 5.7.1"),
            ("ann@a.example", "x@later.example", "queue later.example x@later.example"),
            ("ann@a.example", "off@localhost", "550 5.7.1"),
            ("ann@a.example", "small@localhost", "552 5.3.4"),
            ("Ann@A.example", "closed@localhost", "drop closed@localhost"),
            ("bob@a.example", "closed@localhost", "550 5.7.1"),
            ("", "closed@localhost", "drop closed@localhost"),
            ("ann@a.example", "postmaster", "drop news"),
            ("ann@a.example", "Postmaster@localhost", "drop news"),
            ("ann@a.example", "postmaster@elsewhere.example", "550 5.7.1"),
            ("ann@a.example", "\"news@elsewhere.example\"@localhost", "550 5.1.1"),
        ] {
            assert_eq!(to(&policy, sender, recipient), said, "{sender} {recipient}");
        }
    }

    #[test]
    fn with_accepted_domains_this_machine_is_not_one_of_its_own() {
        let policy = policy(|config| config.incoming.accepted_domains = vec!["lists.example".to_owned()]);
        assert_eq!(to(&policy, "a@a.example", "news@Lists.example"), "drop news@Lists.example");
        assert_eq!(to(&policy, "a@a.example", "news@localhost"), "550 5.7.1");
        assert_eq!(to(&policy, "a@a.example", "postmaster"), "550 5.1.1");
    }

    #[test]
    fn relay_restrictions_shut_out_or_let_in_and_authentication_overrides_them() {
        let allowed = |policy: &Policy, client: &Client| policy.sender(client, "", 0).is_ok();
        let except =
            policy(|config| config.smtp.relay_list = vec!["192.0.2.0/24".to_owned(), "bad.example".to_owned()]);
        assert!(except.needs_names());
        assert!(!allowed(&except, &from("192.0.2.9")) && allowed(&except, &from("192.0.3.9")));
        let named = Client { name: Some("x.bad.example".to_owned()), ..from("192.0.3.9") };
        assert!(!allowed(&except, &named));
        assert!(allowed(&except, &Client { user: Some("ann".to_owned()), ..from("192.0.2.9") }));
        assert!(allowed(&except, &Client::default()), "a unix socket of this machine");
        let only = policy(|config| {
            config.smtp.relay = Relay::Only;
            config.smtp.relay_list = vec!["2001:db8::/32".to_owned()];
        });
        assert!(allowed(&only, &from("2001:db8::1")) && !allowed(&only, &from("2001:db9::1")));
        let safe = policy(|config| {
            config.incoming.mode = Mode::Automatic;
            config.smtp.safe_servers = vec!["192.0.2.1".to_owned()];
        });
        assert!(allowed(&safe, &from("192.0.2.1")) && !allowed(&safe, &from("192.0.2.2")));
        assert!(!allowed(&safe, &Client { user: Some("ann".to_owned()), ..from("192.0.2.2") }));
    }

    #[test]
    fn a_full_disk_and_too_many_mails_are_said_at_mail() {
        let policy = policy(|config| config.smtp.rate_per_address = 2);
        let client = from("192.0.2.1");
        let codes: Vec<_> = (0..3).map(|_| policy.sender(&client, "", 0).err().map(|reply| reply.code)).collect();
        assert_eq!(codes, [None, None, Some(450)]);
        assert_eq!(policy.sender(&from("127.0.0.1"), "", 0), Ok(()));
        policy.room.store(ROOM_KEPT + 10, Ordering::Relaxed);
        assert_eq!(policy.sender(&from("127.0.0.1"), "", 10), Ok(()));
        assert_eq!(policy.sender(&from("127.0.0.1"), "", 11), Err(reply::DISK_FULL));
    }
}
