use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use std::time::Duration;

use super::certificate::Certificate;
use super::verifier::{Trust, Verifier};
use super::*;

type Der = CertificateDer<'static>;

// By the recipes of PostgreSQL's manual (18.9.5, "Creating Certificates"): an authority, a server's
// certificate of it, which is of version 1, and one that has signed itself and says to be an
// authority. None has alternative names.
const ROOT: &[u8] = include_bytes!("tests/root.crt");
const VERSION_1: &[u8] = include_bytes!("tests/version-1.crt");
const SELF_SIGNED: &[u8] = include_bytes!("tests/self-signed.crt");

// 2030, when the files above are valid.
const NOW: u64 = 1_900_000_000;

fn der(pem: &[u8]) -> Der {
    CertificateDer::from_pem_slice(pem).unwrap()
}

/// What speaks against a certificate that a host shows, with these that lie between.
fn verdict(
    shown: &Der,
    between: &[&Der],
    roots: &[&Der],
    host: Option<&str>,
) -> Result<(), Distrust> {
    let owned = |all: &[&Der]| all.iter().copied().cloned().collect::<Vec<_>>();
    let trust = Trust::Authorities { roots: owned(roots), is_for_host: host.is_some() };
    let verifier = Verifier::new(trust, default_provider().signature_verification_algorithms);
    let name = ServerName::try_from(host.unwrap_or("unused").to_owned()).unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
    match verifier.verify_server_cert(shown, &owned(between), &name, &[], now) {
        Ok(_) => Ok(()),
        Err(error) => match handshake_error(std::io::Error::other(error)) {
            TlsError::Distrusted(distrust) => Err(distrust),
            other => panic!("{other:?}"),
        },
    }
}

fn is_unknown(verdict: &Result<(), Distrust>) -> bool {
    matches!(verdict, Err(Distrust::Authority(_)))
}

struct Made {
    der: Der,
    issuer: Issuer<'static, KeyPair>,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn with(mut params: CertificateParams, change: fn(&mut CertificateParams)) -> CertificateParams {
    change(&mut params);
    params
}

fn authority(name: &str) -> CertificateParams {
    with(params(name), |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))
}

fn own(params: CertificateParams) -> Made {
    let key = KeyPair::generate().unwrap();
    let der = params.self_signed(&key).unwrap().der().clone();
    Made { der, issuer: Issuer::new(params, key) }
}

impl Made {
    fn issues(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Self { der, issuer: Issuer::new(params, key) }
    }
}

#[test]
fn the_certificates_of_postgresqls_manual_are_taken() {
    let (root, server, own) = (der(ROOT), der(VERSION_1), der(SELF_SIGNED));
    for host in [None, Some("db.example.com")] {
        assert_eq!(verdict(&server, &[], &[&root], host), Ok(()));
        assert_eq!(verdict(&own, &[], &[&own], host), Ok(()));
    }
    let wrong = verdict(&server, &[], &[&root], Some("example.com"));
    assert!(matches!(wrong, Err(Distrust::Name { .. })), "{wrong:?}");
    // Each trusts itself alone.
    assert!(is_unknown(&verdict(&own, &[], &[&root], None)));
    assert!(is_unknown(&verdict(&server, &[], &[&own], None)));
}

#[test]
fn a_chain_is_followed_to_a_trusted_authority() {
    let root = own(authority("root"));
    let between = root.issues(authority("between"));
    let server = between.issues(CertificateParams::new(["db".to_owned()]).unwrap());
    let roots = [&root.der];
    assert_eq!(verdict(&server.der, &[&between.der], &roots, Some("db")), Ok(()));
    assert!(is_unknown(&verdict(&server.der, &[], &roots, None)));
    // One that is no authority lies between.
    let none = root.issues(params("none"));
    let server = none.issues(params("db"));
    assert!(is_unknown(&verdict(&server.der, &[&none.der], &roots, None)));
}

#[test]
fn who_issues_has_to_be_an_authority_and_have_signed() {
    let root = own(authority("root"));
    // Of the same name, with another key.
    let forged = own(authority("root")).issues(params("db"));
    assert!(is_unknown(&verdict(&forged.der, &[], &[&root.der], None)));
    // Trusted for itself is not trusted to issue.
    let server = own(with(params("db"), |params| params.is_ca = IsCa::ExplicitNoCa));
    assert_eq!(verdict(&server.der, &[], &[&server.der], None), Ok(()));
    let issued = server.issues(with(params("x"), |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }));
    assert!(is_unknown(&verdict(&issued.der, &[], &[&server.der], None)));
    // An authority whose key is for something else.
    let other = own(with(authority("other"), |params| {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    }));
    let strange = other.issues(authority("db"));
    assert!(is_unknown(&verdict(&strange.der, &[], &[&other.der], None)));
    // A server's certificate that says to be an authority is unusual, and no more.
    let unusual = root.issues(authority("db"));
    assert_eq!(verdict(&unusual.der, &[], &[&root.der], None), Ok(()));
    // One that is for clients is not for servers.
    let client = root.issues(with(authority("db"), |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    }));
    assert!(is_unknown(&verdict(&client.der, &[], &[&root.der], None)));
}

#[test]
fn a_certificate_is_good_in_its_time_only() {
    let root = own(authority("root"));
    let past =
        root.issues(with(params("db"), |params| params.not_after = date_time_ymd(2029, 1, 1)));
    let future = own(with(params("db"), |params| params.not_before = date_time_ymd(2031, 1, 1)));
    let past = verdict(&past.der, &[], &[&root.der], None);
    assert!(matches!(past, Err(Distrust::Time { .. })), "{past:?}");
    let future = verdict(&future.der, &[], &[&future.der], None);
    assert!(matches!(future, Err(Distrust::Time { .. })), "{future:?}");
}

#[test]
fn names_are_compared_as_libpq_does() {
    let fits = |names: &[&str], common: &str, host: &str| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, common);
        Certificate::read(&own(params).der).unwrap().check_name(host).is_ok()
    };
    assert!(fits(&["db.example.com"], "x", "DB.Example.com"));
    assert!(!fits(&["db.example.com"], "x", "db.example.co"));
    // `*` is one label, the first, and whole.
    assert!(fits(&["*.example.com"], "x", "a.example.com"));
    assert!(!fits(&["*.example.com"], "x", "a.b.example.com"));
    assert!(!fits(&["*.example.com"], "x", "example.com"));
    assert!(!fits(&["*.example.com"], "x", ".example.com"));
    assert!(!fits(&["*"], "x", "localhost"));
    assert!(!fits(&["a*.example.com"], "x", "ab.example.com"));
    // The common name counts only where there is no other of its kind.
    assert!(fits(&[], "db", "db"));
    assert!(!fits(&["other"], "db", "db"));
    assert!(fits(&["10.0.0.1"], "db", "db"));
    // Addresses.
    assert!(fits(&["10.0.0.1"], "x", "10.0.0.1"));
    assert!(fits(&["::1"], "x", "0:0::1"));
    assert!(!fits(&["10.0.0.2"], "10.0.0.1", "10.0.0.1"));
    assert!(fits(&["db"], "10.0.0.1", "10.0.0.1"));
    assert!(!fits(&[], "*.0.0.1", "10.0.0.1"));
}

#[test]
fn what_is_no_certificate_is_refused_and_breaks_nothing() {
    let whole = der(VERSION_1);
    let root = der(ROOT);
    let roots = [&root];
    for length in 0..whole.len() {
        let cut = Der::from(whole[..length].to_vec());
        assert_eq!(verdict(&cut, &[], &roots, Some("db")), Err(Distrust::Damaged), "{length}");
    }
    for at in 0..whole.len() {
        let mut changed = whole.to_vec();
        changed[at] ^= 0x55;
        let verdict = verdict(&Der::from(changed), &[], &roots, Some("db.example.com"));
        assert!(verdict.is_err(), "byte {at} does not count");
    }
    assert_eq!(end_point(&[]), None);
}
