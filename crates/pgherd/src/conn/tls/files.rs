//! Reads certificates and keys.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use pgherd_core::settings::{ClientTlsSettings, TlsMode, TlsSettings, TlsVersion};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};

use super::TlsError;
use super::certificate::{self, end_point};
use super::client_verifier::ClientVerifier;
use super::verifier::{Trust, Verifier};

/// The protocol's name in TLS: PostgreSQL manual, "SSL Session Encryption".
const ALPN: &[u8] = b"postgresql";

/// No file is larger: all authorities of an operating system together have 200 KiB.
const LARGEST: u64 = 4 << 20;

/// What rustls needs, from the settings and their files as they are now. Waits for the disk.
pub(super) fn load(tls: &TlsSettings) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let trust = match (tls.mode, tls.root_cert.as_str()) {
        // Checked where settings are read, and here for those that a program has made.
        (TlsMode::VerifyCa | TlsMode::VerifyFull, "") => {
            let problem = "is required to verify: a PEM file with the authority".to_owned();
            return Err(TlsError::File { setting: "tls.root_cert", path: "".into(), problem });
        }
        (_, "") => Trust::Anyone,
        (mode, path) => Trust::Authorities {
            roots: certificates("tls.root_cert", path)?,
            is_for_host: mode == TlsMode::VerifyFull,
        },
    };
    let verifier = Verifier::new(trust, provider.signature_verification_algorithms);
    let fail = |problem: &dyn ToString| TlsError::File {
        setting: "tls.cert",
        path: tls.cert.clone().into(),
        problem: problem.to_string(),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions(tls.min_version))
        .map_err(|error| fail(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = if tls.cert.is_empty() {
        builder.with_no_client_auth()
    } else {
        let chain = certificates("tls.cert", &tls.cert)?;
        let key = private_key("tls.key", &tls.key)?;
        builder.with_client_auth_cert(chain, key).map_err(|error| fail(&error))?
    };
    // What libpq has said since 17; older servers do not listen.
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

/// What rustls needs for the clients of a proxy, and what their logins may be bound to: see
/// [`end_point`]. Waits for the disk.
///
/// # Errors
/// [`TlsError::File`]: a file is missing, cannot be read, or is not what it should be. See [`TlsError`].
pub fn for_clients(tls: &ClientTlsSettings) -> Result<(ServerConfig, Option<Vec<u8>>), TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = certificates("client_tls.cert", &tls.cert)?;
    let bound_to = chain.first().and_then(|cert| end_point(cert));
    let key = private_key("client_tls.key", &tls.key)?;
    let fail = |problem: &dyn ToString| TlsError::File {
        setting: "client_tls.cert",
        path: tls.cert.clone().into(),
        problem: problem.to_string(),
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions(tls.min_version))
        .map_err(|error| fail(&error))?;
    let builder = if tls.mode.verifies() {
        let roots = certificates("client_tls.root_cert", &tls.root_cert)?;
        builder.with_client_cert_verifier(Arc::new(ClientVerifier::new(roots, provider)))
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| fail(&error))?;
    // As PostgreSQL: a session that is resumed would bring its old client certificate along.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok((config, bound_to))
}

/// Until when the certificates in a PEM file are valid, in seconds since 1970: the first of them to
/// expire counts, and `None` is a file whose certificates cannot be read. `setting` names it in an error.
/// Waits for the disk.
///
/// # Errors
/// [`TlsError::File`]: it is missing, or holds no certificates. See [`TlsError`].
pub fn expires_at(setting: &'static str, path: &str) -> Result<Option<i64>, TlsError> {
    let chain = certificates(setting, path)?;
    Ok(certificate::expires_at(chain.iter().map(AsRef::as_ref)))
}

fn versions(oldest: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    static NEWER: [&SupportedProtocolVersion; 1] = [&TLS13];
    match oldest {
        TlsVersion::Tls12 => &BOTH,
        TlsVersion::Tls13 => &NEWER,
    }
}

fn certificates(
    setting: &'static str,
    path: &str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fail = |problem: String| TlsError::File { setting, path: path.into(), problem };
    let (pem, _) = read(path).map_err(|error| fail(error.to_string()))?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let all = all.map_err(|error| fail(format!("is not PEM: {error}")))?;
    if all.is_empty() {
        return Err(fail("holds no certificate in PEM".to_owned()));
    }
    Ok(all)
}

fn private_key(setting: &'static str, path: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
    let fail = |problem: String| TlsError::File { setting, path: path.into(), problem };
    let (pem, about) = read(path).map_err(|error| fail(error.to_string()))?;
    // As libpq: its owner's alone, or root's and readable by a group.
    let forbidden = if about.uid() == 0 { 0o027 } else { 0o077 };
    if about.mode() & forbidden != 0 {
        let mode = about.mode() & 0o777;
        return Err(fail(format!("has mode {mode:04o}, so others may read it: chmod 0600")));
    }
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|error| fail(format!("holds no unencrypted private key in PEM: {error}")))
}

fn read(path: impl AsRef<Path>) -> io::Result<(Vec<u8>, Metadata)> {
    let file = File::open(path)?;
    let (about, mut content) = (file.metadata()?, Vec::new());
    file.take(LARGEST).read_to_end(&mut content)?;
    Ok((content, about))
}
