//! Tells the program which commit it is built from; only optimised builds ask, so that a commit costs a
//! developer no rebuild.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=TIDEGATE_COMMIT");
    let optimised = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let told = std::env::var("TIDEGATE_COMMIT").ok();
    let build = told.or_else(|| if optimised { commit() } else { None });
    let build = build.map_or_else(String::new, |build| format!(" ({build})"));
    println!("cargo::rustc-env=TIDEGATE_BUILD={build}");
}

/// The commit and its date, `3d974f3 2026-11-26`; `None` outside a checkout.
fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    for watched in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", watched]) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["show", "--no-patch", "--format=%h %cs"])
}
