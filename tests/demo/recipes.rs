//! The recipes of `CONTRIBUTING.md` list the files that have to be opened: those that name the
//! example.

use std::collections::BTreeSet;
use std::fs;

use regex::Regex;

use crate::architecture::collect;
use crate::documents::{document, quoted, root};

/// The title of each recipe, and what the program's files say of its example.
const RECIPES: [(&str, &str); 8] = [
    ("A balancer, like `peak_ewma`", r"PeakEwma|peak_ewma"),
    (
        "A policy with counters, like `concurrency`",
        r"policy::concurrency|mod concurrency|(policies|written|self)\.concurrency|ConcurrencyConfig|route\.concurrency",
    ),
    (
        "A policy on responses, like `compress`",
        r"policy::compress|mod compress|(policies|written|route|stages|self)\.compress\b|compress: bool|CompressStage",
    ),
    (
        "A source of servers, like `file`",
        r"\bSource::File|\nmod file;|file::Files|struct FileWatch",
    ),
    ("A protocol to clients and servers, like HTTP/2", r"\bH2Client\b|\bH2Origin\b|crate::h2::"),
    ("A refusal, like `LoopDetected`", r#""loop_detected""#),
    ("A command, like `health`", r"HealthArguments|run_health|\nmod health"),
    (
        "A call of the admin endpoint, like `/refusals`",
        r#"collect_refusals|mod orders;\npub mod refusals|"/refusals","#,
    ),
];

/// The room of an example that has one for itself.
const ROOM_OF_EXAMPLE: &str = "src/h2/";

/// Whether a quoted word is the path of a file of the program.
fn is_source(word: &str) -> bool {
    ["src/", "crates/"].iter().any(|start| word.starts_with(start))
}

/// The files of the program, without those of its tests, in which an expression is found.
fn files_that_say(expression: &str) -> BTreeSet<String> {
    let expression = Regex::new(expression).unwrap();
    let mut files = Vec::new();
    collect(&root().join("src"), &mut files);
    collect(&root().join("crates/config"), &mut files);
    files.retain(|file| !file.iter().any(|part| part == "tests" || part == "tests.rs"));
    let said =
        files.into_iter().filter(|file| expression.is_match(&fs::read_to_string(file).unwrap()));
    said.map(|file| file.strip_prefix(root()).unwrap().display().to_string())
        .filter(|file| !file.starts_with(ROOM_OF_EXAMPLE))
        .collect()
}

#[test]
fn a_recipe_lists_the_files_that_have_to_be_opened() {
    let page = document("CONTRIBUTING.md");
    let (_, recipes) = page.split_once("\n## Recipes\n").unwrap();
    let titles: Vec<_> = recipes.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(titles, RECIPES.map(|(title, _)| title), "each recipe has its example here");
    for (recipe, (title, said)) in recipes.split("\n### ").skip(1).zip(RECIPES) {
        let steps = recipe.split("\n\nA configuration key").next().unwrap();
        let listed: BTreeSet<_> =
            quoted(steps).filter(|word| is_source(word)).map(str::to_owned).collect();
        assert_eq!(listed, files_that_say(said), "{title}");
    }
}

#[test]
fn what_a_recipe_names_is_in_the_file_it_names() {
    let page = document("CONTRIBUTING.md");
    let (_, recipes) = page.split_once("\n## Recipes\n").unwrap();
    let mut seen = 0;
    for step in recipes.split('\n').filter(|line| quoted(line).any(is_source)) {
        let words: Vec<_> = quoted(step).collect();
        let files: String = (words.iter().filter(|word| is_source(word)))
            .filter_map(|path| fs::read_to_string(root().join(path)).ok())
            .collect();
        for word in
            words.iter().filter(|word| word.chars().all(|c| c.is_alphanumeric() || c == '_'))
        {
            assert!(files.contains(*word), "`{word}` is not in the files of: {step}");
            seen += 1;
        }
    }
    assert!(seen > 15, "{seen}");
}
