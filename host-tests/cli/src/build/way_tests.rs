//! Every way on machines made of small scripts: nothing is compiled or installed, no network is asked.

use std::fs;

use tempfile::TempDir;

use super::*;

/// A machine that is a directory: `active/` and `distribution/` hold programs, `said` what was run.
struct Lab {
    dir: TempDir,
    machine: Machine,
}

impl Lab {
    /// A machine whose active toolchain has no library for the target, and that has nothing else.
    fn bare() -> Self {
        let dir = TempDir::new().expect("a directory");
        let at = |path: &str| dir.path().join(path);
        let machine = Machine {
            root: dir.path().to_path_buf(),
            cargo: at("active/cargo"),
            rustc: at("active/rustc"),
            rustup: None,
            distribution: at("distribution"),
            toolchains: at("toolchains"),
            linker_dirs: vec![at("linkers")],
            apt_get: None,
            sudo: None,
            is_root: true,
        };
        let lab = Self { dir, machine };
        lab.compiler("active", "1.95.0");
        lab
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Writes a program that notes how it was called and then does what the script says.
    fn program(&self, path: &str, script: &str) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
        let name = path.file_name().expect("it has one").display().to_string();
        let said = self.path("said");
        let text = format!(
            "#!/bin/sh\necho \"{name} $*\" >> {}\ncd {}\n{script}\n",
            said.display(),
            self.dir.path().display()
        );
        // Written by a child: a file that this process holds open for writing can reach the children that other tests
        // start at that moment, and a program that is open for writing can't be run.
        let written = std::process::Command::new("sh")
            .args([
                "-c",
                "printf %s \"$1\" > \"$2\" && chmod +x \"$2\"",
                "sh",
                &text,
            ])
            .arg(&path)
            .status();
        assert!(written.expect("sh runs").success());
        path
    }

    fn compiler(&self, place: &str, version: &str) {
        let sysroot = self.path(&format!("{place}-sysroot"));
        self.program(
            &format!("{place}/rustc"),
            &format!(
                "case \"$1\" in\n-vV) printf 'rustc {version}\\nrelease: {version}\\ncommit-hash: abc\\nLLVM version: 22.1.8\\n' ;;\n*) echo {} ;;\nesac",
                sysroot.display()
            ),
        );
        self.program(&format!("{place}/cargo"), "");
    }

    fn file(&self, path: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
        fs::write(path, "").expect("written");
    }

    fn distribution(&self) {
        self.compiler("distribution", "1.96.0");
        self.file("distribution-sysroot/lib/rustlib/src/rust/library/Cargo.toml");
    }

    fn choose(&self, toolchain: Toolchain) -> anyhow::Result<Compiler> {
        let memory = self.path("memory");
        Chooser {
            machine: &self.machine,
            memory: &memory,
            yes: false,
            output: &Output::silent(),
        }
        .choose(toolchain)
    }

    /// What was run of one program, in order.
    fn said(&self, name: &str) -> Vec<String> {
        fs::read_to_string(self.path("said"))
            .unwrap_or_default()
            .lines()
            .filter(|line| line.split(' ').next() == Some(name))
            .map(str::to_owned)
            .collect()
    }
}

const LIBRARY: &str = "active-sysroot/lib/rustlib/wasm32-unknown-unknown/lib/libcore-1.rlib";
const LIBRARY_DIR: &str = "active-sysroot/lib/rustlib/wasm32-unknown-unknown/lib";

#[test]
fn an_installed_target_is_taken_as_it_is() {
    let mut lab = Lab::bare();
    lab.file(LIBRARY);
    lab.machine.rustup = Some(lab.program("rustup", ""));
    let compiler = lab.choose(Toolchain::Auto).expect("a compiler");
    assert_eq!(compiler.way, Way::Installed);
    assert!(lab.said("rustup").is_empty(), "nothing had to be added");
}

#[test]
fn a_missing_target_is_added_by_rustup() {
    let mut lab = Lab::bare();
    lab.machine.rustup = Some(lab.program(
        "rustup",
        &format!("mkdir -p {LIBRARY_DIR}; touch {LIBRARY}"),
    ));
    let compiler = lab.choose(Toolchain::Auto).expect("a compiler");
    assert_eq!(compiler.way, Way::Rustup);
    assert!(compiler.from_source.is_none());
    assert_eq!(
        lab.said("rustup"),
        ["rustup target add wasm32-unknown-unknown"]
    );
}

#[test]
fn a_rustup_that_can_fetch_nothing_leads_to_the_distribution_and_is_not_asked_again() {
    let mut lab = Lab::bare();
    lab.distribution();
    lab.program("linkers/wasm-ld-22", "");
    lab.machine.rustup =
        Some(lab.program("rustup", "echo 'error: could not download' >&2; exit 1"));
    for _ in 0..2 {
        let compiler = lab.choose(Toolchain::Auto).expect("a compiler");
        assert_eq!(compiler.way, Way::Debian);
        let source = compiler.from_source.expect("it builds the library");
        assert_eq!(source.rustc, lab.path("distribution/rustc"));
        assert_eq!(source.linker, lab.path("linkers/wasm-ld-22"));
        assert_eq!(compiler.cargo, lab.path("distribution/cargo"));
    }
    assert_eq!(lab.said("rustup").len(), 1);
    lab.choose(Toolchain::Rustup)
        .expect_err("asked by name it is asked, and fails");
    assert_eq!(lab.said("rustup").len(), 2);
}

#[test]
fn what_the_distribution_lacks_is_installed_and_only_that() {
    let mut lab = Lab::bare();
    lab.distribution();
    lab.machine.apt_get = Some(lab.program(
        "apt-get",
        "mkdir -p linkers; printf '#!/bin/sh\\n' > linkers/wasm-ld-22; chmod +x linkers/wasm-ld-22",
    ));
    lab.choose(Toolchain::Debian).expect("a compiler");
    assert_eq!(
        lab.said("apt-get"),
        ["apt-get install --yes --no-install-recommends lld-22"]
    );
}

#[test]
fn an_old_compiler_of_the_distribution_is_not_taken() {
    let mut lab = Lab::bare();
    lab.distribution();
    lab.compiler("distribution", "1.63.0");
    lab.machine.apt_get = Some(lab.program(
        "apt-get",
        "echo 'E: Unable to locate package' >&2; exit 100",
    ));
    let error = lab.choose(Toolchain::Debian).expect_err("there is none");
    assert!(
        error.to_string().contains("E: Unable to locate package"),
        "{error}"
    );
    assert_eq!(
        lab.said("apt-get"),
        [
            "apt-get install --yes --no-install-recommends rustc-web cargo-web rust-web-src",
            "apt-get update",
        ],
        "the lists are fetched once, and what fails there is told"
    );
}

#[test]
fn without_root_a_silent_sudo_is_used() {
    let mut lab = Lab::bare();
    lab.machine.is_root = false;
    lab.machine.sudo = Some(lab.program("sudo", "exit 0"));
    lab.machine.apt_get = Some(lab.program("apt-get", ""));
    lab.choose(Toolchain::Debian)
        .expect_err("nothing was really installed");
    let said = lab.said("sudo");
    assert_eq!(said.first().map(String::as_str), Some("sudo -n true"));
    assert!(
        said.get(1).is_some_and(
            |call| call.starts_with("sudo -n /") && call.contains("apt-get install --yes")
        ),
        "{said:?}"
    );
}

#[test]
fn without_root_and_without_sudo_the_command_is_told() {
    let mut lab = Lab::bare();
    lab.machine.is_root = false;
    lab.machine.sudo = Some(lab.program("sudo", "exit 1"));
    lab.machine.apt_get = Some(lab.program("apt-get", ""));
    let error = lab.choose(Toolchain::Debian).expect_err("there is none");
    assert!(
        error.to_string().contains(
            "sudo apt-get install --no-install-recommends rustc-web cargo-web rust-web-src"
        ),
        "{error}"
    );
    assert!(lab.said("apt-get").is_empty());
}

#[test]
fn with_nothing_to_compile_with_the_message_says_what_to_install() {
    let mut lab = Lab::bare();
    lab.machine.rustup =
        Some(lab.program("rustup", "echo 'error: could not download' >&2; exit 1"));
    lab.machine.apt_get = Some(lab.program(
        "apt-get",
        "echo 'E: Unable to fetch some archives' >&2; exit 100",
    ));
    let error = lab.choose(Toolchain::Auto).expect_err("there is none");
    assert_eq!(ExitCode::of(&error), ExitCode::Usage);
    assert_eq!(
        error.to_string(),
        "no compiler for `wasm32-unknown-unknown`\n  \
         active toolchain: rustc 1.95.0 has no library for `wasm32-unknown-unknown`\n  \
         rustup: error: could not download\n  \
         distribution: `apt-get install --no-install-recommends rustc-web cargo-web rust-web-src` failed: \
         E: Unable to fetch some archives\n\
         install what one of these lines installs, then try again:\n  \
         rustup target add wasm32-unknown-unknown\n  \
         apt-get install --no-install-recommends rustc-web cargo-web rust-web-src"
    );
}
