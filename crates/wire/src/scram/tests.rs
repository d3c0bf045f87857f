use super::*;
use proptest::prelude::*;

fn login(password: &str, secret: Secret) -> Result<Accepted, ScramError> {
    let (client, first) = ClientExchange::start(b"client nonce bytes");
    let (server, reply) = ServerExchange::start(first.as_bytes(), b"server nonce", secret)?;
    let derive = |salt: &[u8], iterations| Keys::derive(password, salt, iterations);
    let (client, proof) = client.prove(reply.as_bytes(), derive)?;
    let accepted = server.check(proof.as_bytes())?;
    client.verify(accepted.server_final.as_bytes())?;
    Ok(accepted)
}

#[test]
fn the_right_password_is_accepted_on_both_sides() {
    let accepted = login("pässword", Secret::from_password("pässword", b"salt", 100)).unwrap();
    assert_eq!(accepted.client_key, Keys::derive("pässword", b"salt", 100).client);
}

#[test]
fn a_wrong_or_empty_password_is_refused() {
    for password in ["Secret", "", "secret "] {
        let refused = login(password, Secret::from_password("secret", b"salt", 100)).unwrap_err();
        assert_eq!(refused, ScramError::Mismatch);
    }
}

#[test]
fn no_password_fits_the_mock_secret_of_an_unknown_user() {
    let mock = Secret::mock("mallory", b"key of this instance");
    assert_eq!(mock, Secret::mock("mallory", b"key of this instance"));
    assert_ne!(mock.salt, Secret::mock("mallory", b"another key").salt);
    assert_eq!(mock.salt.len(), 16);
    assert_eq!(login("secret", mock).unwrap_err(), ScramError::Mismatch);
}

#[test]
fn the_derivation_is_that_of_rfc_7677() {
    let keys = Keys::derive("pencil", &BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap(), 4096);
    let auth = b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF\
        $k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIl\
        j)hNlF$k0";
    let mut proof = hmac(&sha256(&keys.client), &[auth]);
    xor(&mut proof, &keys.client);
    assert_eq!(BASE64.encode(proof), "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    let signature = hmac(&keys.server, &[auth]);
    assert_eq!(BASE64.encode(signature), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}

#[test]
fn the_text_form_reads_back_and_nothing_else_does() {
    let secret = Secret::from_password("secret", b"sixteen bytes ok", 4096);
    assert_eq!(Secret::parse(&secret.to_text()), Some(secret));
    for text in ["", "md5abc", "SCRAM-SHA-256$4096", "SCRAM-SHA-256$0:YQ==$YQ==:YQ=="] {
        assert_eq!(Secret::parse(text), None, "{text}");
    }
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let secret = Secret::from_password("secret", b"salt", 1);
    assert_eq!(format!("{secret:?}"), "Secret { iterations: 1, .. }");
}

/// What comes of a login where the two ends have these views of what it is bound to.
fn bound(client: Binding<'_>, server: Binding<'_>) -> Result<Accepted, ScramError> {
    let secret = Secret::from_password("pencil", b"salt", 10);
    let (exchange, first) = ClientExchange::start_bound(b"nonce", client);
    let (checks, reply) = ServerExchange::start_bound(first.as_bytes(), b"server", secret, server)?;
    let derive = |salt: &[u8], iterations| Keys::derive("pencil", salt, iterations);
    let (awaiting, proof) = exchange.prove(reply.as_bytes(), derive)?;
    let accepted = checks.check(proof.as_bytes())?;
    awaiting.verify(accepted.server_final.as_bytes())?;
    Ok(accepted)
}

#[test]
fn an_exchange_is_bound_to_the_certificate_that_both_ends_see() {
    let (ours, other) = (Binding::EndPoint(b"ours"), Binding::EndPoint(b"another"));
    let (none, not_offered) = (Binding::None, Binding::NotOffered);
    for (client, server) in [(ours, ours), (none, none), (not_offered, none), (none, not_offered)] {
        assert!(bound(client, server).is_ok(), "{client:?}, {server:?}");
    }
    for (client, server, error) in [
        (other, ours, ScramError::OtherEndPoint),
        (ours, none, ScramError::ChannelBinding),
        (ours, not_offered, ScramError::ChannelBinding),
        // Somebody in between has taken the mechanism out of what was offered.
        (not_offered, not_offered, ScramError::Downgraded),
        (none, ours, ScramError::Malformed("channel binding flag")),
        (not_offered, ours, ScramError::Malformed("channel binding flag")),
    ] {
        assert_eq!(bound(client, server).unwrap_err(), error, "{client:?}, {server:?}");
    }
}

#[test]
fn a_server_that_does_not_know_the_secret_is_found_out() {
    let (client, first) = ClientExchange::start(b"nonce");
    let secret = Secret::from_password("secret", b"salt", 10);
    let (_, reply) = ServerExchange::start(first.as_bytes(), b"server", secret).unwrap();
    let derive = |salt: &[u8], iterations| Keys::derive("secret", salt, iterations);
    let (client, _) = client.prove(reply.as_bytes(), derive).unwrap();
    let forged = format!("v={}", BASE64.encode([0; 32]));
    assert_eq!(client.verify(forged.as_bytes()), Err(ScramError::Mismatch));
}

#[test]
fn a_foreign_nonce_and_absurd_iterations_are_refused() {
    let keys = |_: &[u8], _| -> Keys { panic!("no keys are needed for this") };
    let (client, _) = ClientExchange::start(b"nonce");
    let refused = client.prove(b"r=other,s=c2FsdA==,i=1", keys).unwrap_err();
    assert_eq!(refused, ScramError::Nonce);
    let (client, _) = ClientExchange::start(b"nonce");
    let refused = client.prove(b"r=x,s=c2FsdA==,i=4000000000", keys).unwrap_err();
    assert_eq!(refused, ScramError::Iterations(4_000_000_000));
}

proptest! {
    #[test]
    fn no_bytes_make_either_side_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let secret = Secret::from_password("secret", b"salt", 1);
        let _ = ServerExchange::start(&bytes, b"nonce", secret.clone());
        let (server, _) = ServerExchange::start(b"n,,n=,r=abc", b"nonce", secret).unwrap();
        let _ = server.check(&bytes);
        let (client, _) = ClientExchange::start(b"nonce");
        let _ = client.prove(&bytes, |salt, _| Keys::derive("secret", salt, 1));
        let _ = Secret::parse(&String::from_utf8_lossy(&bytes));
    }
}
