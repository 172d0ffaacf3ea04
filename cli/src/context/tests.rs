use super::*;

fn contexts() -> Contexts {
    let context = |address: &str, tenant: Option<&str>| Context {
        address: address.parse().unwrap(),
        ca: Some("/ca.pem".into()),
        server_name: None,
        tenant: tenant.map(str::to_owned),
    };
    Contexts {
        current: Some("prod".into()),
        contexts: BTreeMap::from([
            ("prod".into(), context("https://vault.prod:8200", Some("payments"))),
            ("dev".into(), context("unix:///run/coffer/admin.sock", None)),
        ]),
    }
}

#[test]
fn addresses_are_https_or_a_socket() {
    for good in ["https://vault:8200", "https://[::1]:8200", "https://[::1]", "https://10.0.0.1", "unix:///run/coffer.sock"] {
        assert_eq!(good.parse::<Address>().unwrap().as_str(), good);
    }
    assert_eq!("https://vault/".parse::<Address>().unwrap().as_str(), "https://vault");
    for bad in [
        "",
        "vault:8200",
        "http://vault",
        "https://",
        "https://:1",
        "https://v:0",
        "https://v:x",
        "https://v:65536",
        "https://v/x",
    ]
    .into_iter()
    .chain(["https://u@v", "https://v?x", "ftp://v", "unix://run/x", "unix:///", "unix://", "https://v v"])
    {
        assert!(bad.parse::<Address>().is_err(), "{bad}");
    }
}

#[test]
fn a_forgotten_scheme_is_named() {
    assert!("vault:8200".parse::<Address>().unwrap_err().contains("did you mean https://vault:8200?"));
    assert!("http://vault".parse::<Address>().unwrap_err().contains("https://"));
}

#[test]
fn contexts_survive_the_file() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("coffer/config.toml");
    assert_eq!(Contexts::read(&path).unwrap(), Contexts::default());
    contexts().write(&path).unwrap();
    assert_eq!(Contexts::read(&path).unwrap(), contexts());
}

#[test]
fn a_file_with_an_unknown_key_or_a_bad_address_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("config.toml");
    for text in
        ["colour = 1", "[contexts.a]\naddress = \"http://x\"", "[contexts.a]\naddress = \"https://x\"\ntoken = \"t\"", "["]
    {
        private::write(&path, text.as_bytes()).unwrap();
        let failure = Contexts::read(&path).unwrap_err();
        assert!(failure.what.contains("not a file of contexts"), "{failure:?}");
    }
}

#[test]
fn flags_win_over_the_named_context_and_that_over_the_one_in_use() {
    let all = contexts();
    let used = Target::choose(&Wanted::default(), &all).unwrap();
    assert_eq!((used.context.as_deref(), used.tenant()), (Some("prod"), "payments"));
    let named = Target::choose(&Wanted { context: Some("dev".into()), ..Wanted::default() }, &all).unwrap();
    assert_eq!((named.context.as_deref(), named.tenant()), (Some("dev"), DEFAULT_TENANT));
    let tenant = Target::choose(&Wanted { tenant: Some("other".into()), ..Wanted::default() }, &all).unwrap();
    assert_eq!((tenant.context.as_deref(), tenant.tenant()), (Some("prod"), "other"));
}

#[test]
fn another_address_takes_nothing_else_from_the_context() {
    let wanted = Wanted { address: Some("https://elsewhere".parse().unwrap()), ..Wanted::default() };
    let target = Target::choose(&wanted, &contexts()).unwrap();
    assert_eq!((target.context, target.vault.ca, target.vault.tenant), (None, None, None));
    let same = Wanted { address: Some("https://vault.prod:8200".parse().unwrap()), ..Wanted::default() };
    assert_eq!(Target::choose(&same, &contexts()).unwrap().context.as_deref(), Some("prod"));
}

#[test]
fn a_missing_context_is_told_with_those_there_are() {
    let wanted = Wanted { context: Some("stage".into()), ..Wanted::default() };
    let failure = Target::choose(&wanted, &contexts()).unwrap_err();
    assert_eq!(failure.next.as_deref(), Some("choose one of: dev, prod"));
    let failure = Target::choose(&Wanted::default(), &Contexts::default()).unwrap_err();
    assert!(failure.next.unwrap().starts_with("coffer context set"), "names the command that makes one");
}

#[test]
fn names_of_contexts_cannot_leave_the_folder() {
    for good in ["prod", "eu-1.prod_2", &"a".repeat(64)] {
        assert!(check_name(good).is_ok(), "{good}");
    }
    for bad in ["", ".", "..", "../x", "a/b", "-x", "a b", &"a".repeat(65)] {
        assert!(check_name(bad).is_err(), "{bad}");
    }
}
