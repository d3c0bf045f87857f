//! What is read from a certificate.

use std::net::IpAddr;

use rustls::pki_types::SignatureVerificationAlgorithm;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use x509_parser::asn1_rs::{FromDer, Sequence};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};

use super::Distrust;

/// Until when the first of these certificates to expire is valid, in seconds since 1970.
pub(super) fn expires_at<'c>(chain: impl IntoIterator<Item = &'c [u8]>) -> Option<i64> {
    let of_one = |der| Some(Certificate::parse(der)?.x509.validity.not_after.timestamp());
    chain.into_iter().filter_map(of_one).min()
}

type Algorithm<'a> = &'a dyn SignatureVerificationAlgorithm;

/// Which end of a connection shows a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Server,
    Client,
}

/// One certificate, of any version.
pub(super) struct Certificate<'c> {
    x509: X509Certificate<'c>,
    // As rustls names algorithms: the content of the sequence in the certificate.
    signed_with: Vec<u8>,
    key_is_for: Vec<u8>,
}

impl<'c> Certificate<'c> {
    pub(super) fn read(der: &'c [u8]) -> Result<Self, Distrust> {
        Self::parse(der).ok_or(Distrust::Damaged)
    }

    fn parse(der: &'c [u8]) -> Option<Self> {
        let (_, x509) = X509Certificate::from_der(der).ok()?;
        // A sequence of what is signed, the algorithm, and the signature.
        let (_, whole) = Sequence::from_der(der).ok()?;
        let (after, _) = Sequence::from_der(&whole.content).ok()?;
        let signed_with = algorithm(after)?;
        // A sequence of the algorithm and the key.
        let (_, key) = Sequence::from_der(x509.subject_pki.raw).ok()?;
        let key_is_for = algorithm(&key.content)?;
        Some(Self { x509, signed_with, key_is_for })
    }

    /// Whether it is valid at a time in seconds since 1970.
    pub(super) fn check_time(&self, now: i64) -> Result<(), Distrust> {
        let validity = &self.x509.validity;
        let (from, to) = (validity.not_before, validity.not_after);
        if (from.timestamp()..=to.timestamp()).contains(&now) {
            return Ok(());
        }
        Err(Distrust::Time { from: from.to_string(), to: to.to_string() })
    }

    /// The key's info, as it stands in the certificate.
    pub(super) fn key_info(&self) -> &'c [u8] {
        self.x509.subject_pki.raw
    }

    /// Whether this key has signed `message`, by one of these algorithms.
    pub(super) fn has_signed(
        &self,
        message: &[u8],
        signature: &[u8],
        algorithms: &[Algorithm<'_>],
    ) -> bool {
        let key = &self.x509.subject_pki.subject_public_key.data;
        algorithms.iter().any(|algorithm| {
            *algorithm.public_key_alg_id() == self.key_is_for[..]
                && algorithm.verify_signature(key, message, signature).is_ok()
        })
    }

    /// Whether `issuer` has issued it directly and both may be what they then are: what it is shown
    /// as, and an authority, valid now. What has constraints of other kinds is not taken.
    pub(super) fn is_issued_by(
        &self,
        issuer: &Self,
        shown_as: End,
        now: i64,
        algorithms: &[Algorithm<'_>],
    ) -> bool {
        let algorithms: Vec<Algorithm<'_>> = algorithms
            .iter()
            .copied()
            .filter(|algorithm| *algorithm.signature_alg_id() == self.signed_with[..])
            .collect();
        self.x509.issuer.as_raw() == issuer.x509.subject.as_raw()
            && issuer.check_time(now).is_ok()
            && issuer.may_issue()
            && self.may_be(shown_as)
            && issuer.has_signed(
                self.x509.tbs_certificate.as_ref(),
                &self.x509.signature_value.data,
                &algorithms,
            )
    }

    /// An authority. Before version 3 a certificate does not say; one that is trusted is taken
    /// to be one.
    fn may_issue(&self) -> bool {
        let mut says_so = self.x509.extensions().is_empty();
        for extension in self.x509.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::BasicConstraints(basic) => says_so = basic.ca,
                ParsedExtension::KeyUsage(usage) if !usage.key_cert_sign() => return false,
                ParsedExtension::NameConstraints(_) => return false,
                ParsedExtension::KeyUsage(_) => {}
                _ if extension.critical => return false,
                _ => {}
            }
        }
        says_so
    }

    fn may_be(&self, end: End) -> bool {
        self.x509.extensions().iter().all(|extension| match extension.parsed_extension() {
            ParsedExtension::ExtendedKeyUsage(usage) => {
                usage.any
                    || match end {
                        End::Server => usage.server_auth,
                        End::Client => usage.client_auth,
                    }
            }
            ParsedExtension::BasicConstraints(_)
            | ParsedExtension::KeyUsage(_)
            | ParsedExtension::SubjectAlternativeName(_) => true,
            _ => !extension.critical,
        })
    }

    /// The first common name of whom it is made out to.
    fn common_name(&self) -> Option<&str> {
        self.x509.subject.iter_common_name().next()?.as_str().ok()
    }

    /// Whether it is made out to a host, by libpq's rules: an address by an address or name among
    /// the alternative names, a name by those; by the common name only if there is none of its
    /// kind.
    pub(super) fn check_name(&self, host: &str) -> Result<(), Distrust> {
        let (mut names, mut addresses): (Vec<&str>, Vec<&[u8]>) = (Vec::new(), Vec::new());
        for extension in self.x509.extensions() {
            let ParsedExtension::SubjectAlternativeName(alternative) = extension.parsed_extension()
            else {
                continue;
            };
            for name in &alternative.general_names {
                match name {
                    GeneralName::DNSName(name) => names.push(name),
                    GeneralName::IPAddress(address) => addresses.push(address),
                    _ => {}
                }
            }
        }
        let common = self.common_name();
        let fits = match host.parse::<IpAddr>() {
            Ok(ip) => {
                let octets = match ip {
                    IpAddr::V4(ip) => ip.octets().to_vec(),
                    IpAddr::V6(ip) => ip.octets().to_vec(),
                };
                addresses.contains(&octets.as_slice())
                    || names.contains(&host)
                    || addresses.is_empty() && common == Some(host)
            }
            Err(_) if names.is_empty() => common.is_some_and(|name| is_for(name, host)),
            Err(_) => names.iter().any(|name| is_for(name, host)),
        };
        if fits {
            return Ok(());
        }
        let addresses = addresses.iter().map(|octets| address_text(octets));
        let others = names.iter().map(|name| format!("`{name}`"));
        let mut names: Vec<String> = others.chain(addresses).collect();
        if names.is_empty() {
            names.extend(common.map(|name| format!("`{name}`")));
        }
        let names = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
        Err(Distrust::Name { names, wanted: host.to_owned() })
    }
}

/// Whether a certificate's name is that of the host. `*.` at its beginning stands for one label.
fn is_for(name: &str, host: &str) -> bool {
    let Some(domain) = name.strip_prefix("*.") else { return name.eq_ignore_ascii_case(host) };
    let Some((label, rest)) = host.split_once('.') else { return false };
    !label.is_empty() && !domain.is_empty() && rest.eq_ignore_ascii_case(domain)
}

fn address_text(octets: &[u8]) -> String {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return IpAddr::from(octets).to_string();
    }
    <[u8; 16]>::try_from(octets).map_or("?".to_owned(), |octets| IpAddr::from(octets).to_string())
}

/// What stands in the sequence that `der` begins with.
fn algorithm(der: &[u8]) -> Option<Vec<u8>> {
    Sequence::from_der(der).ok().map(|(_, sequence)| sequence.content.into_owned())
}

/// The common name that a certificate (DER) is made out to. `None` if there is none, or what there
/// is is no certificate.
///
/// ```
/// assert_eq!(pgherd::tls::common_name(b"no certificate"), None);
/// ```
pub fn common_name(der: &[u8]) -> Option<String> {
    Certificate::parse(der)?.common_name().map(str::to_owned)
}

/// The hash of a certificate (DER) that a login is bound to: by the algorithm it is signed with, and
/// SHA-256 in place of MD5 and SHA-1 (RFC 5929, 4.1). `None` where that names no single hash.
///
/// ```
/// assert_eq!(pgherd::tls::end_point(b"no certificate"), None);
/// ```
pub fn end_point(der: &[u8]) -> Option<Vec<u8>> {
    let (_, x509) = X509Certificate::from_der(der).ok()?;
    // MD5, SHA-1, SHA-2 with RSA; SHA-1, SHA-2 with ECDSA.
    Some(match x509.signature_algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.1"
        | "1.2.840.10045.4.3.2" => Sha256::digest(der).to_vec(),
        "1.2.840.113549.1.1.14" | "1.2.840.10045.4.3.1" => Sha224::digest(der).to_vec(),
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Sha384::digest(der).to_vec(),
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Sha512::digest(der).to_vec(),
        _ => return None,
    })
}
