//! Decides whether a client's certificate is one of the authorities that clients are to have theirs
//! from.
//!
//! Not rustls's own verifier alone, for the reasons that the one for servers gives.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};

use super::Distrust;
use super::certificate::{Certificate, End};
use super::verifier::{verify_tls12, verify_tls13};

/// See the module's header.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    roots: Vec<CertificateDer<'static>>,
    // None: not one of the authorities is of a kind that it takes.
    by_path: Option<Arc<dyn ClientCertVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientVerifier {
    pub(super) fn new(roots: Vec<CertificateDer<'static>>, provider: Arc<CryptoProvider>) -> Self {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots.iter().cloned());
        let algorithms = provider.signature_verification_algorithms;
        let by_path = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider);
        Self { roots, by_path: by_path.build().ok(), algorithms }
    }

    /// What webpki does not take: a certificate of another shape, directly from an authority.
    fn check_direct(&self, shown: &CertificateDer<'_>, now: UnixTime) -> Result<(), Distrust> {
        let shown = Certificate::read(shown)?;
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        shown.check_time(now)?;
        let is_from = |root: &CertificateDer<'_>| {
            let issuer = Certificate::read(root);
            issuer.is_ok_and(|issuer| {
                shown.is_issued_by(&issuer, End::Client, now, self.algorithms.all)
            })
        };
        if self.roots.iter().any(is_from) {
            return Ok(());
        }
        Err(Distrust::Authority("UnknownIssuer".to_owned()))
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.by_path.as_ref().map_or(&[], |by_path| by_path.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(by_path) = &self.by_path
            && let Ok(verified) = by_path.verify_client_cert(end_entity, intermediates, now)
        {
            return Ok(verified);
        }
        self.check_direct(end_entity, now)
            .map(|()| ClientCertVerified::assertion())
            .map_err(|distrust| CertificateError::Other(OtherError(Arc::new(distrust))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12(message, cert, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13(message, cert, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
