//! HBA files: which client logs in how, by what it wants and where it comes from.
//!
//! PgBouncer's part of PostgreSQL's `pg_hba.conf`: connections `local`, `host`, `hostssl` and
//! `hostnossl`; databases `all`, `sameuser`, `replication`, names and `@file`; users `all`, names and
//! `@file`; addresses `all`, with a prefix length or a mask. The first rule that fits counts.

use std::net::IpAddr;
use std::str::FromStr;

use super::FileError;
use super::fields::{Word, fields};

/// Rules of one file.
const MOST_RULES: usize = 10_000;

/// Bytes of a list of names in a file of its own.
const LONGEST_LIST: usize = 1024 * 1024;

/// Over what a client comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HbaConnection {
    /// A Unix socket.
    Local,
    /// TCP.
    Host,
    /// TCP with TLS.
    HostSsl,
    /// TCP without TLS.
    HostNoSsl,
}

/// How a client logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HbaMethod {
    /// Without a proof.
    Trust,
    /// Not at all.
    Reject,
    /// With the password, in plain.
    Plain,
    /// With md5, or SCRAM where a SCRAM secret is stored.
    Md5,
    /// With SCRAM-SHA-256.
    ScramSha256,
    /// With a certificate.
    Cert,
    /// As the operating system's user at the other end of a Unix socket.
    Peer,
}

impl HbaMethod {
    const WORDS: [(&'static str, Self); 8] = [
        ("trust", Self::Trust),
        ("reject", Self::Reject),
        ("password", Self::Plain),
        ("plain", Self::Plain),
        ("md5", Self::Md5),
        ("scram-sha-256", Self::ScramSha256),
        ("cert", Self::Cert),
        ("peer", Self::Peer),
    ];
}

/// Whom or what a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HbaNames {
    /// `all`
    pub all: bool,
    /// `sameuser`: the database that is called like the user.
    pub same_user: bool,
    /// `replication`: who wants replication, whatever the database.
    pub replication: bool,
    /// By name.
    pub names: Vec<String>,
}

/// Addresses with the same beginning, or all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressRange {
    /// `all`
    All,
    /// As many bits as there are ones in the mask are the same.
    Masked {
        /// One of them, with zeros where the mask has.
        address: IpAddr,
        /// Of the same family.
        mask: IpAddr,
    },
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HbaRule {
    /// The line, counted from 1.
    pub line: usize,
    /// Over what clients come.
    pub connection: HbaConnection,
    /// What they want.
    pub databases: HbaNames,
    /// Who they say they are.
    pub users: HbaNames,
    /// Where they come from; over a Unix socket it says nothing.
    pub address: AddressRange,
    /// How they log in.
    pub method: HbaMethod,
    /// The ident map that tells whom a certificate or the operating system's user may be.
    pub map: Option<String>,
}

/// What rules are asked by.
#[derive(Debug, Clone, Copy)]
pub struct HbaClient<'c> {
    /// The database it wants.
    pub database: &'c str,
    /// Who it says it is.
    pub user: &'c str,
    /// Where it comes from; `None` over a Unix socket.
    pub address: Option<IpAddr>,
    /// Whether it came with TLS.
    pub is_encrypted: bool,
    /// Whether it wants replication.
    pub wants_replication: bool,
}

/// The rules of a file, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HbaRules(pub Vec<HbaRule>);

impl HbaRules {
    /// Reads a file. `list` answers the text of a file of names (`@file`) by its path.
    ///
    /// ```
    /// use pgherd_core::pgbouncer::{HbaClient, HbaMethod, HbaRules};
    ///
    /// let text = "# inside\nhost shop app,\"all\" 10.0.0.0/8 scram-sha-256\nlocal all all trust\n";
    /// let rules = HbaRules::read(text, "hba.conf", &mut |_| Err("no such file".to_owned())).unwrap();
    /// let client = |address: &str| HbaClient {
    ///     database: "shop",
    ///     user: "app",
    ///     address: address.parse().ok(),
    ///     is_encrypted: false,
    ///     wants_replication: false,
    /// };
    /// assert_eq!(rules.find(client("10.1.2.3")).map(|rule| rule.method), Some(HbaMethod::ScramSha256));
    /// assert_eq!(rules.find(client("11.1.2.3")), None);
    ///
    /// let errors = HbaRules::read("host all all 10.0.0.0/8 gss", "hba.conf", &mut |_| unreachable!());
    /// assert!(errors.unwrap_err()[0].to_string().starts_with("hba.conf:1: method `gss` is none of "));
    /// ```
    ///
    /// # Errors
    /// Every line that is no rule.
    pub fn read(
        text: &str,
        file_name: &str,
        list: &mut dyn FnMut(&str) -> Result<String, String>,
    ) -> Result<Self, Vec<FileError>> {
        let (mut rules, mut errors) = (Vec::new(), Vec::new());
        for (index, line) in text.split('\n').enumerate() {
            let line_number = index + 1;
            let mut error = |problem| {
                let file = file_name.to_owned();
                errors.push(FileError { file, line: Some(line_number), problem });
            };
            match fields(line).and_then(|fields| rule(&fields, line_number, list)) {
                Ok(None) => {}
                Ok(Some(_)) if rules.len() >= MOST_RULES => {
                    error(format!("more than {MOST_RULES} rules"));
                    break;
                }
                Ok(Some(rule)) => rules.push(rule),
                Err(problem) => error(problem),
            }
        }
        if errors.is_empty() { Ok(Self(rules)) } else { Err(errors) }
    }

    /// The first rule that fits. Without one, the client is refused.
    pub fn find(&self, client: HbaClient<'_>) -> Option<&HbaRule> {
        self.0.iter().find(|rule| rule.fits(client))
    }
}

impl HbaRule {
    fn fits(&self, client: HbaClient<'_>) -> bool {
        let from = match (self.connection, client.address) {
            (HbaConnection::Local, None) => true,
            (HbaConnection::Local, Some(_)) | (_, None) => false,
            (HbaConnection::HostSsl, Some(_)) if !client.is_encrypted => false,
            (HbaConnection::HostNoSsl, Some(_)) if client.is_encrypted => false,
            (_, Some(address)) => self.address.contains(address),
        };
        from && self.users.have(client.user) && self.serves(client)
    }

    fn serves(&self, client: HbaClient<'_>) -> bool {
        if client.wants_replication {
            return self.databases.replication;
        }
        let is_same = self.databases.same_user && client.database == client.user;
        is_same || self.databases.have(client.database)
    }
}

impl HbaNames {
    fn have(&self, name: &str) -> bool {
        self.all || self.names.iter().any(|known| known == name)
    }
}

impl AddressRange {
    /// Whether an address is one of them. An IPv4 address that came as an IPv6 one is an IPv4 one.
    pub fn contains(self, address: IpAddr) -> bool {
        let Self::Masked { address: of_range, mask } = self else { return true };
        match (address.to_canonical(), of_range, mask) {
            (IpAddr::V4(address), IpAddr::V4(of_range), IpAddr::V4(mask)) => {
                address & mask == of_range
            }
            (IpAddr::V6(address), IpAddr::V6(of_range), IpAddr::V6(mask)) => {
                address & mask == of_range
            }
            _ => false,
        }
    }

    fn masked(address: IpAddr, mask: IpAddr) -> Option<Self> {
        let address = match (address, mask) {
            (IpAddr::V4(address), IpAddr::V4(mask)) => IpAddr::V4(address & mask),
            (IpAddr::V6(address), IpAddr::V6(mask)) => IpAddr::V6(address & mask),
            _ => return None,
        };
        Some(Self::Masked { address, mask })
    }
}

impl FromStr for AddressRange {
    type Err = String;

    /// `all`, or an address with the number of bits that count.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        let no_range = || {
            format!(
                "`{text}` is no address such as 10.0.0.0/8, 10.1.2.3/32 or ::1/128, nor `all`; host \
                 names are not supported"
            )
        };
        let (address, bits) = text.split_once('/').ok_or_else(no_range)?;
        let plain = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
        let bits = bits.parse::<u32>().ok().filter(|_| plain).ok_or_else(no_range)?;
        let mask = match address.parse().map_err(|_| no_range())? {
            IpAddr::V4(_) if bits <= 32 => {
                IpAddr::V4(u32::MAX.checked_shl(32 - bits).unwrap_or(0).into())
            }
            IpAddr::V6(_) if bits <= 128 => {
                IpAddr::V6(u128::MAX.checked_shl(128 - bits).unwrap_or(0).into())
            }
            _ => return Err(no_range()),
        };
        address.parse().ok().and_then(|address| Self::masked(address, mask)).ok_or_else(no_range)
    }
}

type List<'l> = &'l mut dyn FnMut(&str) -> Result<String, String>;

fn rule(fields: &[Vec<Word>], line: usize, list: List<'_>) -> Result<Option<HbaRule>, String> {
    let Some(first) = fields.first() else { return Ok(None) };
    let mut rest = fields[1..].iter();
    let connection = match &first[..] {
        [word] if word.is_keyword("local") => HbaConnection::Local,
        [word] if word.is_keyword("host") => HbaConnection::Host,
        [word] if word.is_keyword("hostssl") => HbaConnection::HostSsl,
        [word] if word.is_keyword("hostnossl") => HbaConnection::HostNoSsl,
        [word, ..] => {
            return Err(format!(
                "a rule begins with local, host, hostssl or hostnossl, not `{}`",
                word.text
            ));
        }
        [] => return Ok(None),
    };
    let mut next = |what: &str| rest.next().ok_or_else(|| format!("{what} is missing"));
    let databases = names(next("the database")?, Field::Databases, list)?;
    let users = names(next("the user")?, Field::Users, list)?;
    let mut method = None;
    let address = match connection {
        HbaConnection::Local => AddressRange::All,
        _ => {
            let address = single(next("the address")?)?;
            match address.parse::<IpAddr>() {
                // The mask stands in a field of its own.
                Ok(address) => {
                    let mask = single(next("the mask of the address, or its /bits,")?)?;
                    mask.parse()
                        .ok()
                        .and_then(|mask| AddressRange::masked(address, mask))
                        .ok_or_else(|| {
                            format!(
                                "`{mask}` is no mask for {address}: write {address}/32 for one \
                                     IPv4 address, /128 for one IPv6 address"
                            )
                        })?
                }
                Err(_) => address.parse()?,
            }
        }
    };
    let word = single(next("the method")?)?;
    for (name, of_word) in HbaMethod::WORDS {
        if name == word {
            method = Some(of_word);
        }
    }
    let method = method.ok_or_else(|| {
        let words = HbaMethod::WORDS.map(|(word, _)| word).join(", ");
        format!("method `{word}` is none of {words}")
    })?;
    match (method, connection) {
        (HbaMethod::Peer, HbaConnection::Local) => {}
        (HbaMethod::Peer, _) => return Err("peer works with `local` only".to_owned()),
        (HbaMethod::Cert, HbaConnection::HostSsl) => {}
        (HbaMethod::Cert, _) => return Err("cert works with `hostssl` only".to_owned()),
        _ => {}
    }
    let mut map = None;
    for option in rest {
        let option = single(option)?;
        match option.split_once('=') {
            Some(("map", name)) if !name.is_empty() => {
                if !matches!(method, HbaMethod::Peer | HbaMethod::Cert) {
                    return Err("`map=` is for peer and cert".to_owned());
                }
                map = Some(name.to_owned());
            }
            _ => return Err(format!("option `{option}` is unknown: there is map=NAME")),
        }
    }
    Ok(Some(HbaRule { line, connection, databases, users, address, method, map }))
}

fn single(field: &[Word]) -> Result<&str, String> {
    match field {
        [word] => Ok(&word.text),
        words => {
            let words: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
            Err(format!("`{}` are several where one is expected", words.join(",")))
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Databases,
    Users,
}

fn names(words: &[Word], field: Field, list: List<'_>) -> Result<HbaNames, String> {
    let mut found = HbaNames::default();
    for word in words {
        let text = word.text.as_str();
        match text {
            _ if word.is_quoted => found.names.push(text.to_owned()),
            "all" => found.all = true,
            "sameuser" if field == Field::Databases => found.same_user = true,
            "replication" if field == Field::Databases => found.replication = true,
            "samerole" | "samegroup" if field == Field::Databases => {
                return Err(format!(
                    "`{text}` is not supported, for roles are not known here: name the databases"
                ));
            }
            _ if text.starts_with('+') => {
                return Err(format!(
                    "`{text}` is not supported, for roles are not known here: name the users"
                ));
            }
            _ if text.starts_with('/') => {
                return Err(format!("`{text}`: regular expressions are not supported here"));
            }
            _ => match text.strip_prefix('@') {
                Some(path) => found.names.extend(listed(path, list)?),
                None => found.names.push(text.to_owned()),
            },
        }
    }
    Ok(found)
}

/// The names in a file.
fn listed(path: &str, list: List<'_>) -> Result<Vec<String>, String> {
    let text = list(path).map_err(|error| format!("cannot read `{path}`: {error}"))?;
    if text.len() > LONGEST_LIST {
        return Err(format!("`{path}` has {} bytes, more than {LONGEST_LIST}", text.len()));
    }
    let mut names = Vec::new();
    for line in text.lines() {
        let found = fields(line).map_err(|problem| format!("`{path}`: {problem}"))?;
        names.extend(found.into_iter().flatten().map(|word| word.text));
    }
    Ok(names)
}
