use std::fs;

use super::*;

const GOOD: &str = r#"
log_level = "debug"

[vault]
address = "https://coffer.coffer.svc:8200"
ca_file = "/etc/coffer/ca.pem"
server_name = "coffer"
tenant = "shop"
cluster = "prod"

[output]
directory = "/secrets"
uid = 1000
gid = 2000
mode = "0440"

[[secrets]]
name = "db.env"
path = "kv/prod/db"
format = "dotenv"

[[secrets]]
name = "password"
path = "kv/prod/db"
field = "password"
version = 3
mode = "0400"

[[secrets]]
name = "app.conf"
paths = { db = "kv/prod/db", api = "kv/prod/api" }
template = "{{ db.user }}:{{ api.key }}"

[notify]
http = "http://127.0.0.1:8080/reload"
on_start = true

[init]
deadline = "90s"

[sidecar]
poll = "1m"
probe_listen = "127.0.0.1:8900"
"#;

fn parse(text: &str, flags: &Flags) -> Result<Config, ConfigError> {
    Config::parse(Path::new("agent.toml"), text, flags)
}

fn refusal(text: &str) -> String {
    parse(text, &Flags::default()).unwrap_err().to_string()
}

#[test]
fn a_full_configuration_is_read() {
    let config = parse(GOOD, &Flags::default()).unwrap();
    assert_eq!(config.vault.address, "https://coffer.coffer.svc:8200");
    assert_eq!(config.vault.token_file, Path::new("/var/run/secrets/coffer/token"));
    assert_eq!((config.output.uid, config.output.gid), (Some(1000), Some(2000)));
    assert_eq!(config.deadline, Duration::from_secs(90));
    assert_eq!(config.poll, Duration::from_secs(60));
    assert_eq!(config.log_level, Level::Debug);
    let modes: Vec<_> = config.secrets.iter().map(|file| (file.name.as_str(), file.mode)).collect();
    assert_eq!(modes, [("db.env", 0o440), ("password", 0o400), ("app.conf", 0o440)]);
    assert!(matches!(&config.secrets[1].format, Format::Raw { field: Some(field) } if field == "password"));
    assert_eq!(config.secrets[1].sources["secret"], Source { version: 3, ..Source::newest("kv/prod/db") });
    assert!(matches!(config.secrets[2].format, Format::Template(_)));
    assert!(config.notify.unwrap().on_start);
}

#[test]
fn a_credential_is_named_as_easily_as_a_secret() {
    let text = "[[secrets]]\nname = \"db.env\"\ncredential = \"database/creds/app\"\nttl = \"30m\"\nformat = \"dotenv\"\n\
                [[secrets]]\nname = \"password\"\ncredential = \"database/creds/app\"\nttl = \"30m\"\nfield = \"password\"\n\
                [vault]\naddress = \"https://v\"\n";
    let config = parse(text, &Flags::default()).unwrap();
    let credential = Credential { ttl_secs: 1_800, ..Credential::default() };
    let source = Source { credential: Some(credential), ..Source::newest("database/creds/app") };
    assert!(config.secrets.iter().all(|file| file.sources["secret"] == source), "both files are of one credential");
}

#[test]
fn files_of_one_certificate_say_the_same_and_others_are_of_another() {
    let file = |name: &str, parameters: &str| {
        format!("[[secrets]]\nname = \"{name}\"\ncredential = \"pki/issue/web\"\nfield = \"certificate\"\n{parameters}\n")
    };
    let text = [
        file("a", "parameters = { common_name = \"a.svc\", alt_names = \"b.svc\" }"),
        file("b", "parameters = { alt_names = \"b.svc\", common_name = \"a.svc\" }"),
        file("c", "parameters = { common_name = \"c.svc\" }"),
        file("d", ""),
        "[vault]\naddress = \"https://v\"\n".to_owned(),
    ]
    .concat();
    let config = parse(&text, &Flags::default()).unwrap();
    let [a, b, c, d] = &config.secrets[..] else { panic!("four files") };
    assert_eq!(a.sources["secret"], b.sources["secret"]);
    assert_eq!(a.sources["secret"].credential.as_ref().unwrap().parameters["alt_names"], "b.svc");
    assert!(c.sources["secret"] != a.sources["secret"] && c.sources["secret"] != d.sources["secret"]);
}

#[test]
fn flags_win_over_the_file() {
    let flags = Flags {
        address: Some("https://other:1".to_owned()),
        mode: Some("0600".to_owned()),
        uid: Some(7),
        deadline: Some(Duration::from_secs(5)),
        secrets: vec!["password=kv/other#pass#word".to_owned(), "all=kv/prod/all".to_owned()],
        ..Flags::default()
    };
    let config = parse(GOOD, &flags).unwrap();
    assert_eq!(config.vault.address, "https://other:1");
    assert_eq!(config.output.uid, Some(7));
    assert_eq!(config.deadline, Duration::from_secs(5));
    let names: Vec<_> = config.secrets.iter().map(|file| (file.name.as_str(), file.mode)).collect();
    assert_eq!(names, [("db.env", 0o600), ("app.conf", 0o600), ("password", 0o600), ("all", 0o600)]);
    assert_eq!(config.secrets[2].sources["secret"].path, "kv/other#pass");
    assert!(matches!(&config.secrets[2].format, Format::Raw { field: Some(field) } if field == "word"));
    assert!(matches!(config.secrets[3].format, Format::Json));
}

#[test]
fn flags_alone_are_enough() {
    let flags =
        Flags { address: Some("https://vault".to_owned()), secrets: vec!["db=kv/prod/db".to_owned()], ..Flags::default() };
    let config = Config::load(&flags).unwrap();
    assert_eq!(config.output.directory, Path::new("/coffer/secrets"));
    assert_eq!(config.secrets[0].mode, 0o400);
}

#[test]
fn faults_are_told_with_file_and_line() {
    for (text, expected) in [
        ("[vault]\naddress = \"a\"\ncolour = 1\n", "agent.toml:3: unknown field `colour`"),
        ("[vault\n", "agent.toml:1: "),
        ("[output]\nmode = \"rw\"\n", "agent.toml:2: mode \"rw\" is not an octal mode"),
        ("[output]\nmode = \"1777\"\n", "agent.toml:2: mode \"1777\" is not an octal mode"),
        ("\n[[secrets]]\nname = \"../x\"\npath = \"kv/a\"\n", "agent.toml:2: secret \"../x\": the name is not that of a file"),
        ("[[secrets]]\nname = \"x\"\n", "agent.toml:1: secret \"x\": give path"),
        ("[[secrets]]\nname = \"x\"\npath = \"kv\"\n", "agent.toml:1: secret \"x\": path \"kv\" is not MOUNT/NAME"),
        (
            "[[secrets]]\nname = \"x\"\npath = \"kv/a\"\n[[secrets]]\nname = \"x\"\npath = \"kv/b\"\n",
            "agent.toml:4: secret \"x\": there are two",
        ),
        ("[[secrets]]\nname = \"x\"\npath = \"kv/a\"\nformat = \"xml\"\n", "agent.toml:4: unknown variant `xml`"),
        (
            "[[secrets]]\nname = \"x\"\npath = \"kv/a\"\ntemplate = \"{{ a\"\n",
            "agent.toml:1: secret \"x\": the template, line 1: ",
        ),
        (
            "[[secrets]]\nname = \"x\"\npath = \"kv/a\"\nfield = \"f\"\nformat = \"json\"\n",
            "agent.toml:1: secret \"x\": field needs",
        ),
        ("[[secrets]]\nname = \"x\"\npath = \"kv/a\"\nttl = \"1h\"\n", "agent.toml:1: secret \"x\": ttl goes with credential"),
        (
            "[[secrets]]\nname = \"x\"\npath = \"kv/a\"\nparameters = { common_name = \"a\" }\n",
            "agent.toml:1: secret \"x\": parameters go with credential",
        ),
        (
            "[[secrets]]\nname = \"x\"\ncredential = \"database/creds/app\"\npath = \"kv/a\"\n",
            "agent.toml:1: secret \"x\": a credential has no path",
        ),
        (
            "[[secrets]]\nname = \"x\"\ncredentials = { db = \"database/creds/app\" }\n",
            "agent.toml:1: secret \"x\": paths and credentials need format = \"template\"",
        ),
        (
            "[[secrets]]\nname = \"x\"\ncredentials = { db = 1 }\ntemplate = \"\"\n",
            "agent.toml:3: a path, or a table of path, ttl and parameters",
        ),
        (
            "[[secrets]]\nname = \"x\"\npaths = { db = \"kv/a\" }\ncredentials = { db = \"database/creds/app\" }\ntemplate = \"\"\n",
            "agent.toml:1: secret \"x\": \"db\" is in paths and in credentials",
        ),
        (
            "[[secrets]]\nname = \"x\"\ncredentials = { db = { path = \"database/static-creds/app\", ttl = \"1h\" } }\ntemplate = \"\"\n",
            "agent.toml:1: secret \"x\": database/static-creds/app is the same for all who have it",
        ),
        (
            "[[secrets]]\nname = \"x\"\ncredentials = { }\ntemplate = \"\"\n",
            "agent.toml:1: secret \"x\": paths and credentials are empty",
        ),
        (
            "[[secrets]]\nname = \"x\"\ncredential = \"database/creds/app\"\nttl = \"500ms\"\n",
            "agent.toml:1: secret \"x\": ttl \"500ms\": a credential lasts whole seconds",
        ),
        (
            "[[secrets]]\nname = \"x\"\npaths = { \"a-b\" = \"kv/a\" }\ntemplate = \"\"\n",
            "\"a-b\" cannot be a name in a template",
        ),
    ] {
        let message = refusal(text);
        assert!(message.contains(expected), "{text}\n gives {message}\n not {expected}");
    }
}

#[test]
fn faults_after_the_secrets_are_told_with_file_and_line() {
    let base = "[[secrets]]\nname = \"x\"\npath = \"kv/a\"\n[vault]\naddress = \"https://v\"\n";
    for (text, expected) in [
        ("[notify]\nhttp = \"http://example.com/\"\n", "agent.toml:6: notify "),
        ("[notify]\nsignal = \"SIGHUP\"\n", "agent.toml:6: notify has either http, or signal and process"),
        ("[notify]\nsignal = \"SIGKILL\"\nprocess = \"x\"\n", "agent.toml:6: notify \"SIGKILL\""),
        ("[init]\ndeadline = \"soon\"\n", "agent.toml:7: \"soon\" is no time"),
        ("[sidecar]\npoll = \"1s\"\n", "poll must be from 10s to 24h"),
    ] {
        let message = refusal(&(base.to_owned() + text));
        assert!(message.contains(expected), "{text}\n gives {message}\n not {expected}");
    }
}

#[test]
fn a_template_has_secrets_and_credentials_side_by_side() {
    let text = r#"
[vault]
address = "https://v"
[[secrets]]
name = "app.conf"
paths = { api = "kv/prod/api" }
credentials = { db = "database/creds/app", tls = { path = "pki/issue/web", ttl = "24h", parameters = { common_name = "a.svc" } } }
template = "{{ api.key }} {{ db.password }} {{ tls.certificate }}"
[[secrets]]
name = "password"
credential = "database/creds/app"
field = "password"
"#;
    let config = parse(text, &Flags::default()).unwrap();
    let sources = &config.secrets[0].sources;
    assert_eq!(sources["api"], Source::newest("kv/prod/api"));
    assert_eq!(sources["db"], config.secrets[1].sources["secret"], "both files are of one user");
    let tls = sources["tls"].credential.as_ref().unwrap();
    assert_eq!((tls.ttl_secs, tls.parameters["common_name"].as_str()), (86_400, "a.svc"));
}

#[test]
fn what_is_missing_is_named_with_both_ways_to_give_it() {
    assert!(refusal("[vault]\naddress = \"https://v\"\n").contains("--secret NAME=PATH"));
    assert!(refusal("[[secrets]]\nname = \"x\"\npath = \"kv/a\"\n").contains("--address https://HOST:PORT"));
}

#[test]
fn as_many_paths_as_a_watch_takes_are_possible_and_one_more_is_not() {
    let text = |count: usize| {
        let secrets: String = (0..count).map(|i| format!("[[secrets]]\nname = \"f{i}\"\npath = \"kv/{i}\"\n")).collect();
        secrets + "[vault]\naddress = \"https://v\"\n"
    };
    assert_eq!(parse(&text(128), &Flags::default()).unwrap().secrets.len(), 128);
    assert!(refusal(&text(129)).contains("128 are possible"));
}

#[test]
fn a_configuration_file_past_the_limit_is_refused() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let padding = usize::try_from(CONFIG_BYTES_MAX).unwrap() - GOOD.len() - 1;
    let load = |file: &tempfile::NamedTempFile| Config::load(&Flags { config: Some(file.path().to_owned()), ..Flags::default() });
    std::io::Write::write_all(&mut file, (GOOD.to_owned() + "#" + &" ".repeat(padding)).as_bytes()).unwrap();
    assert!(load(&file).is_ok());
    std::io::Write::write_all(&mut file, b" ").unwrap();
    assert!(load(&file).unwrap_err().to_string().contains("larger than 1048576 bytes"));
}

#[test]
fn a_configuration_can_be_given_as_a_text() {
    let load = |text: String| Config::load(&Flags { config_text: Some(text), ..Flags::default() });
    assert_eq!(load(GOOD.to_owned()).unwrap().secrets.len(), parse(GOOD, &Flags::default()).unwrap().secrets.len());
    assert!(load("[vault\n".to_owned()).unwrap_err().to_string().starts_with("--config-text:1: "));
    let padding = usize::try_from(CONFIG_BYTES_MAX).unwrap() - GOOD.len();
    assert!(load(GOOD.to_owned() + &" ".repeat(padding)).is_ok());
    assert!(load(GOOD.to_owned() + &" ".repeat(padding + 1)).is_err());
}

#[test]
fn a_device_without_end_is_too_large_wherever_it_is_named() {
    let flags = Flags { config: Some("/dev/zero".into()), ..Flags::default() };
    assert!(Config::load(&flags).unwrap_err().to_string().contains("larger than 1048576 bytes"));
    let text = "[vault]\naddress = \"https://x\"\n[[secrets]]\nname = \"a\"\npath = \"kv/a\"\ntemplate_file = \"/dev/zero\"\n";
    let error = Config::parse(Path::new("c.toml"), text, &Flags::default()).unwrap_err().to_string();
    assert!(error.contains("larger than 262144 bytes"), "{error}");
}

#[test]
fn template_files_are_found_beside_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("app.j2"), "{{ secret.user }}").unwrap();
    let config = directory.path().join("agent.toml");
    let text = "[vault]\naddress = \"https://v\"\n[[secrets]]\nname = \"x\"\npath = \"kv/a\"\ntemplate_file = \"app.j2\"\n";
    fs::write(&config, text).unwrap();
    Config::load(&Flags { config: Some(config.clone()), ..Flags::default() }).unwrap();
    fs::write(directory.path().join("app.j2"), "{{ secret.user").unwrap();
    let message = Config::load(&Flags { config: Some(config), ..Flags::default() }).unwrap_err().to_string();
    assert!(message.contains("app.j2, line 1"), "{message}");
}
