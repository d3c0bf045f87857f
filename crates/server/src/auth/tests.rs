use super::*;

fn users() -> Users {
    let secret = Secret::from_password("pw", b"salt of the node", 4096);
    let known = [
        ("plain", Known::Password("pw".to_owned())),
        ("md5", Known::Md5(md5::stored("md5", "pw"))),
        ("scram", Known::Scram(secret)),
        ("none", Known::Nothing),
        ("node", Known::Password("pw".to_owned())),
    ];
    let credentials = known.map(|(name, known)| Credentials {
        name: name.to_owned(),
        known,
        nodes_only: name == "node",
    });
    Users::new(credentials, |bytes| bytes.fill(7))
}

#[test]
fn a_password_fits_whatever_is_known_of_it() {
    let users = users();
    let salt = [1, 2, 3, 4];
    // Name; whether the right password is let in by plain, md5 and SCRAM.
    for (name, plain, md5, scram) in [
        ("plain", true, true, true),
        ("md5", true, true, false),
        ("scram", true, false, true),
        ("none", false, false, false),
        ("node", false, false, false),
        ("nobody", false, false, false),
    ] {
        assert_eq!(users.is_password(name, "pw"), plain, "{name}");
        let answer = md5::response(name, "pw", salt);
        assert_eq!(users.is_md5(name, salt, answer.as_bytes()), md5, "{name}");
        assert_eq!(users.secret(name).keys("pw").is_some(), scram, "{name}");
        for wrong in ["", "PW", "pw "] {
            assert!(!users.is_password(name, wrong), "{name}");
            let answer = md5::response(name, wrong, salt);
            assert!(!users.is_md5(name, salt, answer.as_bytes()), "{name}");
            assert!(users.secret(name).keys(wrong).is_none(), "{name}");
        }
    }
}

#[test]
fn where_md5_is_the_rule_unknown_names_are_asked_as_known_ones_are() {
    let users = users();
    assert!(users.is_asked_for_scram("scram"));
    assert!(!users.is_asked_for_scram("plain") && !users.is_asked_for_scram("md5"));
    let strangers = (0..300).map(|number| format!("stranger-{number}"));
    let asked = strangers.filter(|name| users.is_asked_for_scram(name)).count();
    // One of three users has a SCRAM secret.
    assert!((60..140).contains(&asked), "{asked}");
    let without = Users::new([], |bytes| bytes.fill(7));
    assert!(!without.is_asked_for_scram("nobody"));
}

#[test]
fn the_key_that_a_client_has_shown_is_kept_if_it_fits() {
    let users = users();
    let proof = || users.get(users.find("scram").unwrap()).proof();
    let Proof::Scram(secret, None) = proof() else { panic!("{:?}", proof()) };
    users.remember("scram", [0; 32]);
    assert!(matches!(proof(), Proof::Scram(_, None)));
    assert!(secret.keys("pw").is_some());
    assert!(users.is_password("scram", "pw"));
    let Proof::Scram(_, Some(keys)) = proof() else { panic!("no keys") };
    assert!(Some(keys) == secret.keys("pw").as_ref());
}
