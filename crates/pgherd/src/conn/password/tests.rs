use super::*;

fn place<'p>(host: &'p str, user: &'p str) -> Place<'p> {
    Place { host, port: 5432, database: "app", user }
}

#[test]
fn a_passfile_is_read_as_libpq_reads_it() {
    let text = "# host:port:database:user:of a comment\n\
                db:5432:app:me:first\n\
                db:*:*:me:second\n\
                a\\:b:5432:app:o\\\\neil:pass\\:wo:rd\\\\\n\
                too:few:fields\n\
                localhost:5432:app:me:socket\n\
                \\*:5432:app:star:never\n\
                *:*:*:you:any\n";
    let find = |host, user| passfile::find(text, place(host, user));
    assert_eq!(find("db", "me").as_deref(), Some("first"));
    let other = Place { database: "other", ..place("db", "me") };
    assert_eq!(passfile::find(text, other).as_deref(), Some("second"));
    assert_eq!(find("a:b", "o\\neil").as_deref(), Some("pass:wo:rd\\"));
    assert_eq!(find("/run/postgresql", "me").as_deref(), Some("socket"));
    assert_eq!(find("db", "star"), None);
    assert_eq!(find("anywhere", "you").as_deref(), Some("any"));
    assert_eq!(find("too", "few"), None);
}

#[test]
fn a_password_is_one_line() {
    let line = |text: &str| one_line(text.to_owned()).map(|secret| secret.expose().to_owned());
    assert_eq!(line("pw").as_deref(), Ok("pw"));
    assert_eq!(line(" p w \r\n").as_deref(), Ok(" p w "));
    assert_eq!(line("\n"), Err("holds no password"));
    assert_eq!(line("a\nb\n"), Err("holds more than one line"));
}

fn command(script: &str) -> Arc<Command> {
    Arc::new(Command::new(PasswordCommand::new(["sh", "-c", script])))
}

#[tokio::test]
async fn a_command_that_fails_is_named_with_its_complaint_and_without_its_output() {
    let fails =
        |script: &'static str| async move { command(script).run().await.unwrap_err().to_string() };
    let error = fails("echo s3cret; echo no such key >&2; exit 3").await;
    assert!(error.contains("exit 3") && error.contains("no such key"), "{error}");
    assert!(!error.replace("echo s3cret", "").contains("s3cret"), "{error}");
    assert!(fails("true").await.ends_with("printed what holds no password"));
    let error = fails("head -c 100000 /dev/zero | tr '\\0' x").await;
    assert!(error.ends_with("printed more than 16384 bytes"), "{error}");
    let nothing = Command::new(PasswordCommand::new(["/nowhere/command"]));
    assert!(nothing.run().await.unwrap_err().to_string().contains("cannot be run"));
}

#[tokio::test]
async fn a_command_runs_once_for_all_who_ask_and_again_when_refused() {
    let file = std::env::temp_dir().join(format!("pgherd-runs-{}", std::process::id()));
    let counting = command(&format!("echo >> {0}; wc -l < {0}", file.display()));
    let ask = || counting.clone().answer();
    let answers = tokio::join!(ask(), ask(), ask());
    for answer in [answers.0, answers.1, answers.2] {
        assert_eq!(answer.unwrap().expose().trim(), "1");
    }
    counting.forget();
    assert_eq!(ask().await.unwrap().expose().trim(), "2");
    assert_eq!(ask().await.unwrap().expose().trim(), "2");
    std::fs::remove_file(file).unwrap();
}
