//! Packages of a release: each takes what the archive of a release has, and nothing that it has not.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use xcache_tests::job::Job;
use xcache_tests::runner::checkout;
use xcache_tests::skip;

const TARGET: &str = "x86_64-unknown-linux-musl";

/// The release of programs that only know their version, packed: the archive, and the directory in it.
fn release(job: &Job) -> (PathBuf, PathBuf) {
    let (build, version) = (job.dir("build"), env!("CARGO_PKG_VERSION"));
    for name in ["xcache-restore", "xcache-save", "xcache-gc"] {
        fs::write(build.join(name), format!("#!/bin/sh\necho \"{name} {version}\"\n")).unwrap();
        fs::set_permissions(build.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    job.command(checkout().join(".ci/pack")).arg(&build).args([version, TARGET]).arg(job.path("release")).run().ok();
    let name = format!("xcache-{version}-{TARGET}");
    let archive = job.path("release").join(format!("{name}.tar.gz"));
    job.command("tar").arg("-xzf").arg(&archive).run().ok();
    (archive, job.path(name))
}

fn read(path: &str) -> String {
    fs::read_to_string(checkout().join(path)).unwrap()
}

fn is_installed(program: &str) -> bool {
    Command::new("sh").args(["-c", &format!("command -v {program} >/dev/null")]).status().unwrap().success()
}

#[test]
fn the_debian_package_has_all_of_a_release() {
    let job = Job::new();
    let (archive, root) = release(&job);
    let manifest = read("xcache-gc/Cargo.toml");
    let section = manifest.split("[package.metadata.deb]\n").nth(1).unwrap();
    let assets = section.split("assets = [\n").nth(1).unwrap().split("\n]").next().unwrap();
    let sources: Vec<&str> = assets.lines().map(|line| line.split('"').nth(1).unwrap()).collect();
    let mut packed = Vec::new();
    for source in &sources {
        let path = source.strip_prefix("../target/deb/").unwrap();
        // `.ci/deb` compresses the manual pages.
        let path = path.strip_suffix(".gz").unwrap_or(path);
        assert!(root.join(path).exists(), "{source}");
        packed.push(path.to_owned());
    }
    let mut there: Vec<String> = files(&root, &root);
    there.retain(|path| path != "README.md");
    packed.sort();
    assert_eq!(packed, there);

    if skip::has("cargo-deb and dpkg-deb", is_installed("cargo-deb") && is_installed("dpkg-deb")) {
        let deb = Command::new(checkout().join(".ci/deb")).arg(archive).arg(job.path("deb")).output().unwrap();
        assert!(deb.status.success(), "{}", String::from_utf8_lossy(&deb.stderr));
        let made = fs::read_dir(job.path("deb")).unwrap().next().unwrap().unwrap().path();
        let contents = job.command("dpkg-deb").arg("--contents").arg(&made).run().ok().stdout;
        for path in ["./usr/bin/xcache-save", "./usr/share/man/man1/xcache-gc.1.gz"] {
            assert!(contents.contains(path), "{contents}");
        }
        let shells = [
            "bash-completion/completions/xcache-gc",
            "fish/vendor_completions.d/xcache-gc.fish",
            "zsh/vendor-completions/_xcache-gc",
        ];
        for path in shells {
            assert!(contents.contains(path), "{contents}");
        }
        let info = job.command("dpkg-deb").arg("--info").arg(&made).run().ok().stdout;
        assert!(info.contains("Package: xcache\n"), "{info}");
    }
}

/// The files below a directory, by their paths, sorted.
fn files(dir: &Path, root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, root));
        } else {
            found.push(path.strip_prefix(root).unwrap().display().to_string());
        }
    }
    found.sort();
    found
}

#[test]
fn the_formula_names_the_archives_of_a_release_and_what_is_in_them() {
    let job = Job::new();
    let (_, root) = release(&job);
    let names = ["x86_64", "aarch64"].map(|machine| format!("xcache-1.2.3-{machine}-unknown-linux-musl.tar.gz"));
    let sums: String = names.iter().zip(["aa", "bb"]).map(|(name, sum)| format!("{sum}  {name}\n")).collect();
    fs::write(job.path("SHA256SUMS"), &sums).unwrap();
    let formula = || job.command(checkout().join(".ci/homebrew")).args(["1.2.3", "SHA256SUMS"]);
    let text = formula().run().ok().stdout;
    assert!(!text.contains('@'), "{text}");
    for (name, sum) in names.iter().zip(["aa", "bb"]) {
        assert!(text.contains(&format!("/v1.2.3/{name}\"\n    sha256 \"{sum}\"")), "{text}");
    }
    for program in ["xcache-restore", "xcache-save", "xcache-gc"] {
        for pattern in ["man/#{program}.1", "completions/#{program}.bash", "completions/_#{program}"] {
            assert!(text.contains(pattern), "{text}");
            assert!(root.join(pattern.replace("#{program}", program)).exists(), "{pattern}");
        }
    }
    fs::write(job.path("SHA256SUMS"), sums.lines().next().unwrap()).unwrap();
    formula().run().expect_code(1).says(&["has no sum of xcache-1.2.3-aarch64"]);
    if skip::has("ruby", is_installed("ruby")) {
        fs::write(job.path("xcache.rb"), text).unwrap();
        job.command("ruby").args(["-c", "xcache.rb"]).run().ok();
    }
}

#[test]
fn the_image_is_made_of_what_a_release_has() {
    let job = Job::new();
    let (_, root) = release(&job);
    let recipe = read("packaging/Containerfile");
    let copied: Vec<&str> = recipe.lines().filter_map(|line| line.strip_prefix("COPY ")).collect();
    assert_eq!(copied.len(), 2);
    for sources in copied {
        let words: Vec<&str> = sources.split(' ').collect();
        for source in &words[..words.len() - 1] {
            assert!(root.join(source).exists() || source.starts_with("--"), "{source}");
        }
    }
}

#[test]
fn the_flake_can_be_read() {
    let flake = read("flake.nix");
    for name in ["xcache-restore", "xcache-save", "xcache-gc"] {
        assert!(flake.contains(&format!("\"--package={name}\"")), "{name}");
    }
    if skip::has("nix-instantiate", is_installed("nix-instantiate")) {
        Job::new().command("nix-instantiate").arg("--parse").arg(checkout().join("flake.nix")).run().ok();
    }
}
