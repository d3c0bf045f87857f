//! Certificates for one test.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use pgherd_lab::ServerTls;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA512, SignatureAlgorithm,
};

/// An authority, made for the test.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub fn pem(&self) -> String {
        self.pem.clone()
    }

    /// A server's certificate, made out to a host.
    pub fn server(&self, host: &str) -> ServerTls {
        let params = CertificateParams::new([host.to_owned()]).unwrap();
        let (cert, key) = self.issue(params);
        ServerTls { cert, key, client_ca: None }
    }

    /// A certificate and its key for a role.
    pub fn client(&self, role: &str) -> (String, String) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, role);
        self.issue(params)
    }

    /// The same, which was good for some time and is not any more.
    pub fn expired_client(&self, role: &str) -> (String, String) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, role);
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        self.issue(params)
    }

    fn issue(&self, params: CertificateParams) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        (cert.pem(), key.serialize_pem())
    }
}

/// Certificates that have signed themselves, each with another hash.
pub fn hashes() -> Vec<(&'static str, ServerTls)> {
    let all: [(&str, &'static SignatureAlgorithm); 3] = [
        ("SHA-256", &PKCS_ECDSA_P256_SHA256),
        ("SHA-384", &PKCS_ECDSA_P384_SHA384),
        ("SHA-512", &PKCS_RSA_SHA512),
    ];
    let make = |(name, algorithm)| {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let cert = params.self_signed(&key).unwrap().pem();
        (name, ServerTls { cert, key: key.serialize_pem(), client_ca: None })
    };
    all.into_iter().map(make).collect()
}

/// Writes a file that its owner alone may read.
pub fn file(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

pub fn let_others_read(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
}

pub fn let_others_write(path: &Path) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).unwrap();
}

/// Tells why a test is skipped, past the harness, which would keep it to itself.
pub fn skipped(why: &str) {
    let _ = std::io::stderr().write_all(format!("\nSKIPPED: {why}\n").as_bytes());
}
