use super::*;

#[test]
fn a_pattern_below_a_folder_is_not_for_the_folder_itself_nor_for_its_namesakes() {
    let pattern: PathPattern = "kv/prod/**".parse().unwrap();
    for (path, matches) in [("kv/prod/a", true), ("kv/prod/a/b", true), ("kv/prod", false), ("kv/production", false)] {
        assert_eq!(pattern.matches(&path.parse().unwrap()), matches, "{path}");
    }
}

#[test]
fn a_path_knows_its_parents() {
    let path: Path = "kv/prod/payments".parse().unwrap();
    assert_eq!(path.and_parents().collect::<Vec<_>>(), ["kv/prod/payments", "kv/prod", "kv"]);
    assert_eq!(path.parent().unwrap().as_str(), "kv/prod");
    assert_eq!(path.mount(), "kv");
}
