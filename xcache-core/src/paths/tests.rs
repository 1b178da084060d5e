//! What lines of a path list take and leave.

use super::*;

const CWD: &str = "/work/repo";
const HOME: &str = "/home/me";

#[cfg(unix)]
mod unix {
    use super::*;

    fn parse(lines: &str) -> Result<PathList, PathError> {
        PathList::parse(&[lines], Path::new(CWD), Some(Path::new(HOME)))
    }

    #[track_caller]
    fn check_roots(lines: &str, expected: Result<&[(&str, &str)], PathError>) {
        let list = parse(lines);
        let roots = list.as_ref().map(|list| {
            list.roots().iter().map(|root| (root.given.as_str(), root.base.to_str().unwrap())).collect::<Vec<_>>()
        });
        assert_eq!(roots, expected.as_ref().map(|roots| roots.to_vec()));
    }

    #[test]
    fn each_line_that_is_no_exclude_is_a_root() {
        check_roots(
            "  target \r\n\n# a comment\n~/.cargo/\n! target/tmp\n/opt/x\n",
            Ok(&[("target", "/work/repo/target"), ("~/.cargo/", "/home/me/.cargo"), ("/opt/x", "/opt/x")]),
        );
        check_roots("~", Ok(&[("~", HOME)]));
        check_roots("~other/x", Ok(&[("~other/x", "/work/repo/~other/x")]));
        check_roots("!!a", Ok(&[("!!a", "/work/repo/a")]));
        check_roots("-rf", Ok(&[("-rf", "/work/repo/-rf")]));
        check_roots("a\na", Ok(&[("a", "/work/repo/a"), ("a", "/work/repo/a")]));
    }

    #[test]
    fn dots_and_double_slashes_are_resolved_as_text() {
        check_roots(".", Ok(&[(".", CWD)]));
        check_roots("./a/./b//c/", Ok(&[("./a/./b//c/", "/work/repo/a/b/c")]));
        check_roots("../other", Ok(&[("../other", "/work/other")]));
        check_roots("../../../../x", Ok(&[("../../../../x", "/x")]));
        check_roots("/", Ok(&[("/", "/")]));
        check_roots("//a//", Ok(&[("//a//", "/a")]));
        check_roots("~/../you", Ok(&[("~/../you", "/home/you")]));
        check_roots("a*/../b", Err(PathError::ParentOfWildcard("a*/../b".into())));
    }

    #[test]
    fn a_root_with_wildcards_begins_at_the_directory_before_them() {
        check_roots("**/target", Ok(&[("**/target", CWD)]));
        check_roots("a/b*/c", Ok(&[("a/b*/c", "/work/repo/a")]));
        check_roots("~/.gradle/caches/*", Ok(&[("~/.gradle/caches/*", "/home/me/.gradle/caches")]));
        check_roots("dir/**", Ok(&[("dir/**", "/work/repo/dir")]));
        check_roots(r"a\*b/[?]", Ok(&[(r"a\*b/[?]", "/work/repo/a*b/?")]));
    }

    #[test]
    fn bad_lists_are_told() {
        check_roots("", Err(PathError::NoPath));
        check_roots("# x\n!a", Err(PathError::OnlyExcludes));
        let error = PathList::parse(&["a", "~/b"], Path::new(CWD), None).unwrap_err();
        assert_eq!(error, PathError::NoHome("~/b".into()));
        assert!(PathList::parse(&["a", "b"], Path::new(CWD), None).is_ok());
    }

    #[test]
    fn nothing_after_an_exclamation_mark_is_not_the_working_directory() {
        for line in ["!", "!!", "! !", "!!!", " ! "] {
            let expected = || Err(PathError::NothingExcluded(line.trim().into()));
            check_roots(line, expected());
            check_roots(&format!("a\n{line}\nb"), expected());
        }
        check_roots("!!a", Ok(&[("!!a", "/work/repo/a")]));
    }

    /// Paths stand relative to the base of the first root; a trailing slash makes one a directory.
    #[track_caller]
    fn check(lines: &str, included: &[&str], descended: &[&str], excluded: &[&str]) {
        let list = parse(lines).unwrap();
        let expected = [
            (included, PathDecision::Include),
            (descended, PathDecision::DescendOnly),
            (excluded, PathDecision::Exclude),
        ];
        for (paths, expected) in expected {
            for path in paths {
                let relative = path.trim_end_matches('/');
                let is_dir = path.is_empty() || path.ends_with('/');
                assert_eq!(list.decide(0, relative.as_bytes(), is_dir), expected, "`{path}` in {lines:?}");
            }
        }
    }

    #[test]
    fn a_plain_root_takes_everything() {
        check("dir", &["", "a", "a/b/", ".hidden/x"], &[], &[]);
        check("dir/**", &["", "a", "a/b/", ".hidden/x"], &[], &[]);
        check("dir\n!other", &["", "other", "a/other/"], &[], &[]);
    }

    #[test]
    fn wildcards_take_what_they_match_and_all_below() {
        check("*.log", &["a.log", ".log", "d.log/", "d.log/x/y"], &[""], &["a.txt", "d/", "d/a.log"]);
        check("**/target", &["target/", "a/target/x", "a/b/target"], &["", "a/", "a/b/"], &["a/x", "x"]);
        check("a/*/c", &["b/c", "b/c/d"], &["", "b/"], &["b", "b/d/", "b/d/c"]);
        check("dir/**/*", &["a", "a/b/"], &[""], &[]);
        check("**/a/**/b", &["a/b", "a/x/y/b/z", "x/a/b/"], &["", "x/", "a/", "a/x/", "b/"], &["b", "x/b", "a/x"]);
    }

    #[test]
    fn a_trailing_slash_takes_directories_only() {
        check("*/", &["a/", "a/b", "a/b/"], &[""], &["a"]);
        check("dir\n!**/tmp/", &["", "tmp", "a/tmp"], &[], &["tmp/", "tmp/x", "a/tmp/", "a/tmp/x/y"]);
    }

    #[test]
    fn excludes_hold_inside_directories() {
        check("dir\n!dir/sub", &["", "a", "sub2/", "a/sub"], &[], &["sub/", "sub", "sub/x/y"]);
        check("dir\n! dir/**/*.tmp", &["", "a", "d/", "d/a.tmp2"], &[], &["a.tmp", "d/a.tmp", "d.tmp/", "d.tmp/x"]);
        check("dir\n!dir/a*/b", &["", "ax/", "ax/c", "b"], &[], &["ax/b", "a/b/c"]);
        check("dir\n!dir", &[], &[], &["", "a", "a/b/"]);
        check("dir\n!dir/**", &[], &[], &["", "a", "a/b/"]);
        check("dir\n!dir/**/*", &[""], &[], &["a", "a/b/"]);
        check("a/b\n!a", &[], &[], &["", "x"]);
        check("a/b\n!*/b/c", &["", "d"], &[], &["c", "c/d"]);
        check("~/.cache\n!~/.cache/*/tmp", &["", "x/", "tmp/"], &[], &["x/tmp"]);
        check("/\n!/proc", &["", "etc/"], &[], &["proc/", "proc/1"]);
        check("**/out\n!**/out/tmp", &["a/out/", "a/out/x"], &["", "a/"], &["a/out/tmp", "out/tmp/x"]);
    }

    #[test]
    fn excludes_win_in_any_order() {
        check("!dir/a\ndir", &["", "b"], &[], &["a"]);
        check("dir\n!dir/a\ndir/a/b", &["", "b"], &[], &["a", "a/b"]);
    }

    #[test]
    fn an_exclude_with_leading_stars_holds_in_every_root() {
        check("~/.cargo\n!**/*.lock", &["", "a"], &[], &["a.lock", "d/a.lock"]);
        check("~/.cargo\n!**", &[], &[], &["", "a"]);
        check("~/.cargo\n!*.lock", &["", "a.lock"], &[], &[]);
        check(".\n!**.lock", &["", "a", "d/a.lock"], &[], &["a.lock"]);
    }

    #[test]
    fn names_need_not_be_utf8() {
        let list = parse("dir\n!dir/*.o").unwrap();
        assert_eq!(list.decide(0, b"\xff.o", false), PathDecision::Exclude);
        assert_eq!(list.decide(0, b"\xff.c", false), PathDecision::Include);
        assert_eq!(list.decide(0, b"\xff/x.o", false), PathDecision::Include);
    }

    #[track_caller]
    fn check_overlaps(lines: &str, expected: &[(&str, &str)]) {
        let list = parse(lines).unwrap();
        let pairs: Vec<_> = list.overlaps().iter().map(|(a, b)| (a.given.as_str(), b.given.as_str())).collect();
        assert_eq!(pairs, expected);
    }

    #[test]
    fn roots_inside_others_are_told() {
        check_overlaps("a\nb\nab", &[]);
        check_overlaps("a\na/b", &[("a/b", "a")]);
        check_overlaps("a/b\na", &[("a/b", "a")]);
        check_overlaps("a\n./a/", &[("./a/", "a")]);
        check_overlaps("*.txt\n*.md", &[]);
        check_overlaps("**/target\na/target/x", &[("a/target/x", "**/target")]);
        check_overlaps("/\n~", &[("~", "/")]);
        check_overlaps("a\na\na", &[("a", "a"), ("a", "a")]);
        check_overlaps("a/b/c\na/b\na", &[("a/b/c", "a/b"), ("a/b", "a")]);
        check_overlaps("*\n*", &[]);
        check_overlaps("a/*\na", &[("a/*", "a")]);
        check_overlaps("a/*\na/b", &[("a/b", "a/*")]);
    }

    #[test]
    fn ten_thousand_lines_are_told_of_once_each() {
        let equal = vec!["a"; 10_000].join("\n");
        assert_eq!(parse(&equal).unwrap().overlaps().len(), 9_999);
        let nested: String = (0..10_000).map(|number| format!("{number}/a\n")).collect();
        assert_eq!(parse(&nested).unwrap().overlaps().len(), 0);
    }

    /// What entries call these lines in a job whose workspace, home and directory for temporary files are as given.
    #[track_caller]
    fn check_names(lines: &str, anchors: [&str; 3], expected: &[&str]) {
        let [cwd, home, temp] = anchors.map(PathBuf::from);
        let list = PathList::parse_from(&[lines], Anchors { cwd, home: Some(home), temp: Some(temp) }).unwrap();
        assert_eq!(list.roots().iter().map(|root| root.name.as_str()).collect::<Vec<_>>(), expected);
        for root in list.roots() {
            assert_eq!(list.full_of(&root.name).as_deref(), Some(root.full()), "{}", root.name);
        }
    }

    #[test]
    fn a_line_has_one_name_however_it_is_spelt_and_wherever_the_runner_puts_it() {
        let lines = "./target//\n~/.cargo/\n../up\n.\npackages/*/dist/**\n/opt/x/\n~";
        let names = ["target", "~/.cargo", "../up", ".", "packages/*/dist", "/opt/x", "~"];
        for root in ["/home/runner", "/github"] {
            let anchors = [format!("{root}/work/a/a"), root.to_owned(), format!("{root}/work/_temp")];
            let anchors = anchors.each_ref().map(String::as_str);
            check_names(lines, anchors, &names);
            let [cwd, home, temp] = anchors;
            let absolute = format!("{cwd}/target\n{home}/.cargo\n{temp}/cache/*\n{cwd}\n{home}\n{temp}\n{cwd}2/x");
            let names = ["target", "~/.cargo", "$RUNNER_TEMP/cache/*", ".", "~", "$RUNNER_TEMP", "~/work/a/a2/x"];
            check_names(&absolute, anchors, &names);
        }
        // A directory without a name is no place to start from.
        check_names("/opt/x", ["/", "/", "/tmp"], &["/opt/x"]);
        check_names("opt/x", ["/", "/", "/tmp"], &["opt/x"]);
    }

    #[test]
    fn many_lines_take_no_time_and_each_is_told_of_once() {
        let lines = "same\n".repeat(20_000) + &(0..20_000).map(|n| format!("d/{n}/*.o\n")).collect::<String>();
        assert_eq!(parse(&lines).unwrap().overlaps().len(), 19_999);
    }

    #[test]
    fn lists_meet_where_both_ask_for_the_same_files() {
        let meet = |a: &str, b: &str| {
            let (a, b) = (parse(a).unwrap(), parse(b).unwrap());
            assert_eq!(a.meeting(&b).is_some(), b.meeting(&a).is_some());
            a.meeting(&b).is_some()
        };
        for (a, b) in
            [("a", "./a/"), ("x\na", "a/b"), (".", "a"), ("a", "a/*.o"), ("a/*.o", "a/*.o"), ("p/*/d", "p/x/d")]
        {
            assert!(meet(a, b), "{a:?} {b:?}");
        }
        for (a, b) in [("a", "b"), ("a", "ab"), (".\n!a", "a"), ("a/*.o", "a/*.rs"), ("p/*/d", "p/x/e"), ("~", ".")] {
            assert!(!meet(a, b), "{a:?} {b:?}");
        }
    }
}
