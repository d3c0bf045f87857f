//! Decides whether a server is who it should be.
//!
//! Not rustls's own verifier: that one knows no certificate that has signed itself, none of
//! before version 3, and no common names, and PostgreSQL's manual tells how to make all three.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

use super::Distrust;
use super::certificate::{Certificate, End};

/// Whom to trust.
#[derive(Debug)]
pub(super) enum Trust {
    /// Anyone who has the key of the certificate that he shows.
    Anyone,
    /// Those with a certificate of these authorities, made out to the host if `is_for_host`.
    Authorities { roots: Vec<CertificateDer<'static>>, is_for_host: bool },
}

/// See the module's header.
#[derive(Debug)]
pub(super) struct Verifier {
    trust: Trust,
    store: RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) fn new(trust: Trust, algorithms: WebPkiSupportedAlgorithms) -> Self {
        let mut store = RootCertStore::empty();
        if let Trust::Authorities { roots, .. } = &trust {
            store.add_parsable_certificates(roots.iter().cloned());
        }
        Self { trust, store, algorithms }
    }

    fn check(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Distrust> {
        let Trust::Authorities { roots, is_for_host } = &self.trust else { return Ok(()) };
        self.check_authority(shown, between, roots, now)?;
        if *is_for_host {
            Certificate::read(shown)?.check_name(&host.to_str())?;
        }
        Ok(())
    }

    fn check_authority(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        roots: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Distrust> {
        let algorithms = self.algorithms.all;
        let by_path = ParsedCertificate::try_from(shown).and_then(|shown| {
            verify_server_cert_signed_by_trust_anchor(&shown, &self.store, between, now, algorithms)
        });
        let Err(error) = by_path else { return Ok(()) };
        // What webpki does not take: a certificate that is trusted itself, and one of another
        // shape than a server's should have, directly from an authority.
        let shown_der = shown;
        let shown = Certificate::read(shown)?;
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        shown.check_time(now)?;
        let is_from = |root: &CertificateDer<'_>| {
            let issuer = Certificate::read(root);
            root == shown_der
                || issuer
                    .is_ok_and(|issuer| shown.is_issued_by(&issuer, End::Server, now, algorithms))
        };
        if roots.iter().any(is_from) {
            return Ok(());
        }
        Err(Distrust::Authority(match error {
            Error::InvalidCertificate(error) => error.to_string(),
            error => error.to_string(),
        }))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates, server_name, now)
            .map(|()| ServerCertVerified::assertion())
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

/// Whether the key of a certificate of any version has signed a handshake of TLS 1.2.
pub(super) fn verify_tls12(
    message: &[u8],
    cert: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let shown = Certificate::read(cert).map_err(|_| CertificateError::BadEncoding)?;
    let fitting = algorithms.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
    let fitting = fitting.map_or(&[][..], |(_, algorithms)| algorithms);
    if shown.has_signed(message, signed.signature(), fitting) {
        return Ok(HandshakeSignatureValid::assertion());
    }
    Err(CertificateError::BadSignature.into())
}

/// The same of TLS 1.3.
pub(super) fn verify_tls13(
    message: &[u8],
    cert: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let shown = Certificate::read(cert).map_err(|_| CertificateError::BadEncoding)?;
    let key = SubjectPublicKeyInfoDer::from(shown.key_info());
    verify_tls13_signature_with_raw_key(message, &key, signed, algorithms)
}
