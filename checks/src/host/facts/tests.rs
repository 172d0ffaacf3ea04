use super::*;

#[test]
fn texts_are_cut_when_gathered_and_refused_when_read() {
    let longest = "x".repeat(FACT_TEXT_BYTES_MAX);
    assert_eq!(Text::cut(&longest).as_str(), longest);
    let cut = Text::cut(&"ü".repeat(FACT_TEXT_BYTES_MAX));
    assert!(cut.as_str().len() <= FACT_TEXT_BYTES_MAX && cut.as_str().ends_with('…'));
    assert!(serde_json::from_value::<Text>(longest.clone().into()).is_ok());
    assert!(serde_json::from_value::<Text>(format!("{longest}x").into()).is_err());
}

#[test]
fn lists_and_maps_that_are_too_long_are_refused_and_unknown() {
    let list = |length: usize| serde_json::from_value::<List<u8>>(vec![0_u8; length].into());
    assert!(list(FACT_LIST_MAX).is_ok() && list(FACT_LIST_MAX + 1).is_err());
    assert!(matches!(List::known(vec![0; FACT_LIST_MAX]), Fact::Known(_)));
    assert!(matches!(List::known(vec![0; FACT_LIST_MAX + 1]), Fact::Unknown(_)));
    let map = |length: usize| {
        let entries: serde_json::Map<_, _> = (0..length).map(|n| (n.to_string(), "absent".into())).collect();
        serde_json::from_value::<Table<u8>>(entries.into())
    };
    assert!(map(FACT_LIST_MAX).is_ok() && map(FACT_LIST_MAX + 1).is_err());
    let mut table = Table::default();
    (0..=FACT_LIST_MAX).for_each(|n| table.add(&n.to_string(), Fact::Known(n)));
    assert_eq!(table.iter().count(), FACT_LIST_MAX);
    assert!(matches!(table.of(&FACT_LIST_MAX.to_string()), Fact::Unknown(_)), "what found no room was not looked at");
}

#[test]
fn unknown_stays_unknown() {
    let unknown = Fact::<u8>::unknown("why");
    assert_eq!(unknown.clone().map(|n| n + 1), unknown);
    let judgement = unknown.judged(Judgement::pass(""), |_| Judgement::pass(""));
    assert_eq!(judgement, Judgement::unknown("why"));
}
