//! `tidegate schema`: the configuration file described, as JSON schema for editors and validators,
//! or as a page for people.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::print_text;
use crate::config::{json_schema, reference};

#[derive(Debug, Args)]
pub(super) struct SchemaArguments {
    /// How to print it
    #[arg(long, value_enum, default_value_t = SchemaFormat::Json)]
    format: SchemaFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SchemaFormat {
    /// JSON schema, draft 2020-12
    Json,
    /// The reference of all keys
    Markdown,
}

/// Prints the schema.
pub(super) fn print_schema(arguments: &SchemaArguments) -> ExitCode {
    let text = match arguments.format {
        SchemaFormat::Json => format!("{:#}\n", json_schema().as_value()),
        SchemaFormat::Markdown => reference::markdown(),
    };
    print_text(&text, ExitCode::SUCCESS)
}
