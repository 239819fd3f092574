use super::*;

/// The lines of what is found in a configuration beside a file with this text, and whether it
/// loads.
fn found(list: Option<&str>) -> (bool, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let (path, config) =
        (directory.path().join("app.list"), directory.path().join("tidegate.toml"));
    if let Some(list) = list {
        std::fs::write(&path, list).unwrap();
    }
    let text = format!(
        "[[listen]]\naddress = '127.0.0.1:0'\n[upstream.app]\nservers = {{ file = '{0}' }}\n\
             [upstream.same]\nservers = {{ file = '{0}', allow = ['10.0.0.0/24'] }}\n\
             [[route]]\nupstream = 'app'\n[[route]]\npath = '/same'\nupstream = 'same'\n",
        path.display()
    );
    std::fs::write(&config, text).unwrap();
    let checked = check_file(&config);
    let loads = checked.is_ok();
    let report = match checked {
        Ok(loaded) => FindingReport::of(loaded.findings, loaded.sources),
        Err(report) => report,
    };
    let folder = format!("{}/", directory.path().display());
    let lines = report.lines().replace(&folder, "");
    // The last line is their number.
    let mut lines: Vec<String> = lines.lines().map(str::to_owned).collect();
    lines.retain(|line| !line.starts_with("  help: "));
    assert!(lines.pop().is_some_and(|last| last.starts_with("0 errors, ")));
    (loads, lines)
}

#[test]
fn what_is_wrong_in_a_file_of_servers_is_told_with_its_place_and_keeps_nothing_from_running() {
    assert_eq!(found(Some("servers = ['10.0.0.1:80']")), (true, Vec::new()));
    let outside =
        "app.list:1:12: warning[outside_allow]: `10.0.1.1:80` is outside `allow` and is not used";
    assert_eq!(found(Some("servers = ['10.0.1.1:80']")), (true, vec![outside.to_owned()]));
    let (loads, lines) = found(Some(
        "servers = [\n  '10.0.0.1:80',\n  '0.0.0.0:80',\n  '224.0.0.1:80',\n  '10.0.0.2',\n]\nmore = 1\n",
    ));
    assert!(loads);
    let begins = [
        "app.list:3:3: warning[unspecified_address]: `0.0.0.0:80` is no address of a server",
        "app.list:4:3: warning[unusable_address]: nobody can connect to `224.0.0.1:80`",
        "app.list:5:3: warning[bad_value]: \"10.0.0.2\" is not a server address",
        "app.list:7:1: warning[unknown_key]: ",
    ];
    assert_eq!(lines.len(), begins.len(), "each once, though two upstreams read it: {lines:?}");
    for (line, begin) in lines.iter().zip(begins) {
        assert!(line.starts_with(begin), "{line}");
    }
    let wrong = format!("servers = [{}]", "'10.0.0.2',".repeat(MOST_FINDINGS + 200));
    let (loads, lines) = found(Some(&wrong));
    assert!(loads);
    let more = "tidegate.toml:4:20: warning[more_errors]: app.list: 200 more errors are not shown";
    assert_eq!(lines[0], more);
    assert!(lines[1].starts_with("app.list:1:12: warning[bad_value]: "), "{}", lines[1]);
    let (loads, lines) = found(None);
    assert!(loads);
    let expected =
        ["tidegate.toml:4:20: warning[unreadable_file]: app.list: there is no such file"];
    assert_eq!(lines, expected);
}
