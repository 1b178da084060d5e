//! The names of the environment variables that the programs read, but for those of CI systems: see `ci::table`.

/// `--store`.
pub const STORE: &str = "XCACHE_STORE";
/// `--s3-bucket`.
pub const S3_BUCKET: &str = "XCACHE_S3_BUCKET";
/// `--s3-region`.
pub const S3_REGION: &str = "XCACHE_S3_REGION";
/// `--s3-prefix`.
pub const S3_PREFIX: &str = "XCACHE_S3_PREFIX";
/// `--s3-endpoint`.
pub const S3_ENDPOINT: &str = "XCACHE_S3_ENDPOINT";
/// `--s3-path-style`.
pub const S3_PATH_STYLE: &str = "XCACHE_S3_PATH_STYLE";
/// `--s3-profile`.
pub const S3_PROFILE: &str = "XCACHE_S3_PROFILE";
/// `--s3-role`.
pub const S3_ROLE: &str = "XCACHE_S3_ROLE";
/// `--s3-sse`.
pub const S3_SSE: &str = "XCACHE_S3_SSE";
/// `--s3-kms-key`.
pub const S3_KMS_KEY: &str = "XCACHE_S3_KMS_KEY";
/// `--s3-storage-class`.
pub const S3_STORAGE_CLASS: &str = "XCACHE_S3_STORAGE_CLASS";
/// `--s3-anonymous`.
pub const S3_ANONYMOUS: &str = "XCACHE_S3_ANONYMOUS";
/// `--s3-requester-pays`.
pub const S3_REQUESTER_PAYS: &str = "XCACHE_S3_REQUESTER_PAYS";
/// `--aws-access-key-id`.
pub const AWS_ACCESS_KEY_ID: &str = "XCACHE_AWS_ACCESS_KEY_ID";
/// `--aws-secret-access-key`.
pub const AWS_SECRET_ACCESS_KEY: &str = "XCACHE_AWS_SECRET_ACCESS_KEY";
/// `--aws-session-token`.
pub const AWS_SESSION_TOKEN: &str = "XCACHE_AWS_SESSION_TOKEN";

/// `--path`.
pub const PATH: &str = "XCACHE_PATH";
/// `--key`.
pub const KEY: &str = "XCACHE_KEY";
/// `--caches`.
pub const CACHES: &str = "XCACHE_CACHES";
/// `--restore-keys`.
pub const RESTORE_KEYS: &str = "XCACHE_RESTORE_KEYS";
/// `--mode`.
pub const MODE: &str = "XCACHE_MODE";
/// `--scope`.
pub const SCOPE: &str = "XCACHE_SCOPE";
/// `--state-dir`.
pub const STATE_DIR: &str = "XCACHE_STATE_DIR";
/// `--metrics`.
pub const METRICS: &str = "XCACHE_METRICS";
/// `--explain`.
pub const EXPLAIN: &str = "XCACHE_EXPLAIN";
/// `--fail-on-error`.
pub const FAIL_ON_ERROR: &str = "XCACHE_FAIL_ON_ERROR";

/// `--base-key` of save.
pub const BASE_KEY: &str = "XCACHE_BASE_KEY";
/// `--full` of save.
pub const FULL: &str = "XCACHE_FULL";
/// `--tag` of save.
pub const TAG: &str = "XCACHE_TAG";
/// `--branch` of save.
pub const BRANCH: &str = "XCACHE_BRANCH";
/// `--commit` of save.
pub const COMMIT: &str = "XCACHE_COMMIT";
/// `--repo` of save.
pub const REPO: &str = "XCACHE_REPO";
/// `--level` of save.
pub const LEVEL: &str = "XCACHE_LEVEL";
/// `--rebase-after` of save.
pub const REBASE_AFTER: &str = "XCACHE_REBASE_AFTER";
/// `--save-unfinished` of save.
pub const SAVE_UNFINISHED: &str = "XCACHE_SAVE_UNFINISHED";
/// `--if-exists` of save.
pub const IF_EXISTS: &str = "XCACHE_IF_EXISTS";

/// `--lookup-only` of restore.
pub const LOOKUP_ONLY: &str = "XCACHE_LOOKUP_ONLY";
/// `--fail-on-cache-miss` of restore.
pub const FAIL_ON_CACHE_MISS: &str = "XCACHE_FAIL_ON_CACHE_MISS";
/// `--clean` of restore.
pub const CLEAN: &str = "XCACHE_CLEAN";
/// `--clean-protected` of restore.
pub const CLEAN_PROTECTED: &str = "XCACHE_CLEAN_PROTECTED";
/// `--same-owner` of restore.
pub const SAME_OWNER: &str = "XCACHE_SAME_OWNER";
/// `--relocate` of restore.
pub const RELOCATE: &str = "XCACHE_RELOCATE";
/// `--clear-token` of restore.
pub const CLEAR_TOKEN: &str = "XCACHE_CLEAR_TOKEN";

/// `--concurrency`.
pub const CONCURRENCY: &str = "XCACHE_CONCURRENCY";
/// `--timeout`.
pub const TIMEOUT: &str = "XCACHE_TIMEOUT";
/// `--workers`.
pub const WORKERS: &str = "XCACHE_WORKERS";

/// `--keep-newest` of gc.
pub const KEEP_NEWEST: &str = "XCACHE_KEEP_NEWEST";
/// `--group-by` of gc.
pub const GROUP_BY: &str = "XCACHE_GROUP_BY";
/// `--max-age` of gc.
pub const MAX_AGE: &str = "XCACHE_MAX_AGE";
/// `--max-total-size` of gc.
pub const MAX_TOTAL_SIZE: &str = "XCACHE_MAX_TOTAL_SIZE";
/// `--live-branches` of gc.
pub const LIVE_BRANCHES: &str = "XCACHE_LIVE_BRANCHES";
/// `--live-branches-from-git` of gc.
pub const LIVE_BRANCHES_FROM_GIT: &str = "XCACHE_LIVE_BRANCHES_FROM_GIT";
/// `--shadowed` of gc.
pub const SHADOWED: &str = "XCACHE_SHADOWED";
/// `--dangling` of gc.
pub const DANGLING: &str = "XCACHE_DANGLING";
/// `--stale-uploads` of gc.
pub const STALE_UPLOADS: &str = "XCACHE_STALE_UPLOADS";
/// `--min-age` of gc.
pub const MIN_AGE: &str = "XCACHE_MIN_AGE";
/// How many arenas the allocator of glibc makes.
pub const MALLOC_ARENA_MAX: &str = "MALLOC_ARENA_MAX";
/// `--delete-versions` of gc.
pub const DELETE_VERSIONS: &str = "XCACHE_DELETE_VERSIONS";
/// `--dry-run` of gc.
pub const DRY_RUN: &str = "XCACHE_DRY_RUN";
/// `--prefix` of gc.
pub const PREFIX: &str = "XCACHE_PREFIX";
/// `--cascade` of gc.
pub const CASCADE: &str = "XCACHE_CASCADE";
/// `--deep` of gc.
pub const DEEP: &str = "XCACHE_DEEP";
/// `--kind` of gc.
pub const KIND: &str = "XCACHE_KIND";
/// `--older-than` of gc.
pub const OLDER_THAN: &str = "XCACHE_OLDER_THAN";
/// `--newer-than` of gc.
pub const NEWER_THAN: &str = "XCACHE_NEWER_THAN";
/// `--sort` of gc.
pub const SORT: &str = "XCACHE_SORT";
/// `--reverse` of gc.
pub const REVERSE: &str = "XCACHE_REVERSE";
/// `--long` of gc.
pub const LONG: &str = "XCACHE_LONG";
/// `--price` of gc.
pub const PRICE: &str = "XCACHE_PRICE";

/// `--json`.
pub const JSON: &str = "XCACHE_JSON";
/// `--verbose`.
pub const VERBOSE: &str = "XCACHE_VERBOSE";
/// `--quiet`.
pub const QUIET: &str = "XCACHE_QUIET";
/// `--color`.
pub const COLOR: &str = "XCACHE_COLOR";
/// `--progress`.
pub const PROGRESS: &str = "XCACHE_PROGRESS";

/// `--upload-chunk-size`, ignored.
pub const UPLOAD_CHUNK_SIZE: &str = "XCACHE_UPLOAD_CHUNK_SIZE";
/// `--enable-cross-os-archive`, ignored.
pub const ENABLE_CROSS_OS_ARCHIVE: &str = "XCACHE_ENABLE_CROSS_OS_ARCHIVE";
/// `--use-deltas`, ignored.
pub const USE_DELTAS: &str = "XCACHE_USE_DELTAS";
/// `--save-always`, ignored.
pub const SAVE_ALWAYS: &str = "XCACHE_SAVE_ALWAYS";

/// Where the user's home is, for `~`.
pub const HOME: &str = "HOME";
/// The same on Windows.
pub const USERPROFILE: &str = "USERPROFILE";
/// Where caches of the user lie (XDG base directories).
pub const XDG_CACHE_HOME: &str = "XDG_CACHE_HOME";
/// Where state of the user lies (XDG base directories).
pub const XDG_STATE_HOME: &str = "XDG_STATE_HOME";
/// Both of these on Windows.
pub const LOCALAPPDATA: &str = "LOCALAPPDATA";
/// No colours, whatever its value (no-color.org).
pub const NO_COLOR: &str = "NO_COLOR";
/// `dumb`: a terminal without colours and cursor movement.
pub const TERM: &str = "TERM";
