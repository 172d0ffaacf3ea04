use super::*;

fn settings(users: &[&str]) -> StaticRoleSettings {
    StaticRoleSettings {
        connection: "main".to_owned(),
        users: users.iter().map(|&user| user.to_owned()).collect(),
        rotation_period_secs: 0,
        grace_secs: 0,
    }
}

fn role(users: &[&str]) -> StaticRoleRecord {
    let updated = Timestamp::from_secs(1_000);
    StaticRoleRecord { settings: settings(users), updated, version: 0, rotated: None, previous: None, current: None, next: None }
}

fn rotate(role: &mut StaticRoleRecord, password: &str, now: u64) {
    role.begin(&SecretString::copied_from(password)).unwrap();
    role.finish(Timestamp::from_secs(now));
}

fn current(role: &StaticRoleRecord) -> (String, String) {
    let (user, password) = role.current().unwrap().unwrap();
    (user.to_owned(), password.expose().to_owned())
}

#[test]
fn two_users_take_turns_and_the_one_before_stays_good_for_its_grace() {
    let mut role = role(&["a", "b"]);
    assert!(role.current().unwrap().is_none() && role.due() == role.updated);
    rotate(&mut role, "one", 2_000);
    assert_eq!((current(&role), role.previous.clone()), (("a".into(), "one".into()), None));
    rotate(&mut role, "two", 3_000);
    assert_eq!(current(&role), ("b".into(), "two".into()));
    assert_eq!(role.previous, Some(Previous { user: "a".into(), until: Timestamp::from_secs(3_600) }));
    role.previous = None;
    rotate(&mut role, "three", 4_000);
    assert_eq!((current(&role).0.as_str(), role.version), ("a", 3));
    assert_eq!(role.due(), Timestamp::from_secs(4_000 + 86_400));
}

#[test]
fn the_password_of_an_only_user_is_in_doubt_while_it_is_given() {
    let mut role = role(&["a"]);
    rotate(&mut role, "one", 2_000);
    assert!(!role.in_doubt());
    role.begin(&SecretString::copied_from("two")).unwrap();
    assert!(role.in_doubt());
    assert_eq!(current(&role).1, "one");
    role.abandon();
    assert!(!role.in_doubt());
    rotate(&mut role, "three", 3_000);
    assert_eq!((current(&role), role.previous), (("a".into(), "three".into()), None));
}

#[test]
fn nothing_is_in_doubt_while_the_other_of_two_users_is_given_its_password() {
    let mut role = role(&["a", "b"]);
    rotate(&mut role, "one", 2_000);
    role.begin(&SecretString::copied_from("two")).unwrap();
    assert!(!role.in_doubt());
    assert_eq!(role.next().unwrap().unwrap().0, "b");
}

#[test]
fn users_and_times_that_cannot_be_are_refused() {
    let refused = |change: fn(&mut StaticRoleSettings)| {
        let mut settings = settings(&["a", "b"]);
        change(&mut settings);
        settings.check().is_err()
    };
    assert!(!refused(|_| {}));
    assert!(refused(|settings| settings.users.clear()));
    assert!(refused(|settings| settings.users.push("c".into())));
    assert!(refused(|settings| settings.users = vec!["a".into(), "a".into()]));
    assert!(refused(|settings| settings.users = vec![String::new()]));
    assert!(!refused(|settings| settings.users = vec!["u".repeat(DATABASE_NAME_BYTES_MAX)]));
    assert!(refused(|settings| settings.users = vec!["u".repeat(DATABASE_NAME_BYTES_MAX + 1)]));
    assert!(!refused(|settings| settings.rotation_period_secs = STATIC_ROTATION_PERIOD_MIN.as_secs()));
    assert!(refused(|settings| settings.rotation_period_secs = STATIC_ROTATION_PERIOD_MIN.as_secs() - 1));
    assert!(!refused(|settings| settings.rotation_period_secs = STATIC_ROTATION_PERIOD_MAX.as_secs()));
    assert!(refused(|settings| settings.rotation_period_secs = STATIC_ROTATION_PERIOD_MAX.as_secs() + 1));
    assert!(!refused(|settings| (settings.rotation_period_secs, settings.grace_secs) = (100, 50)));
    assert!(refused(|settings| (settings.rotation_period_secs, settings.grace_secs) = (100, 51)));
}

#[test]
fn the_grace_is_ten_minutes_or_half_of_a_short_period() {
    assert_eq!(settings(&["a"]).grace(), STATIC_GRACE_DEFAULT);
    assert_eq!(StaticRoleSettings { rotation_period_secs: 90, ..settings(&["a"]) }.grace(), Duration::from_secs(45));
}
