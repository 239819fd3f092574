//! The `tidegate` program. Everything it does is in the library, so that tests, benches and
//! fuzz targets see the same code.

fn main() -> std::process::ExitCode {
    tidegate::cli::main()
}
