//! `tidegate completions` and `tidegate man`: generated from the same declaration that parses the
//! command line.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Arguments, print_error, print_text};

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell to complete in
    shell: Shell,
}

/// Prints a script that the shell reads at its start.
pub(super) fn print_completions(arguments: &Completions) -> ExitCode {
    let mut script = Vec::new();
    let mut command = Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, "tidegate", &mut script);
    print_text(&String::from_utf8_lossy(&script), ExitCode::SUCCESS)
}

/// Prints the manual page in roff, one section for every command.
pub(super) fn print_man() -> ExitCode {
    let command = Arguments::command();
    let mut page = Vec::new();
    let mut rendered = clap_mangen::Man::new(command.clone()).render(&mut page);
    for sub in command.get_subcommands() {
        let name = format!("tidegate-{}", sub.get_name());
        let sub = clap_mangen::Man::new(sub.clone().display_name(name).version(super::VERSION));
        rendered = rendered
            .and_then(|()| sub.render_name_section(&mut page))
            .and_then(|()| sub.render_synopsis_section(&mut page))
            .and_then(|()| sub.render_options_section(&mut page));
    }
    match rendered {
        Ok(()) => print_text(&String::from_utf8_lossy(&page), ExitCode::SUCCESS),
        Err(error) => print_error(&format!("error: {error}\n")),
    }
}
