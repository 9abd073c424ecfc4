//! What ffmpeg may see of the machine: itself, its libraries, devices that encode. Sources are hostile and codecs have holes;
//! whoever takes over the process finds no file to read, nowhere to write and nobody to call.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus, Scope, path_beneath_rules,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("landlock: {0}")]
    Landlock(#[from] landlock::RulesetError),
    #[error("seccomp: {0}")]
    Backend(#[from] seccompiler::BackendError),
    #[error("seccomp: {0}")]
    Seccomp(#[from] seccompiler::Error),
}

/// What is used of it; older kernels enforce as much as they know.
const LANDLOCK: ABI = ABI::V6;

/// Programs and libraries, and what they ask of the machine they run on.
const READABLE: [&str; 9] =
    ["/usr", "/lib", "/lib64", "/bin", "/opt", "/nix/store", "/etc/ld.so.cache", "/etc/alternatives", "/sys"];
/// Devices that do no harm, and those that encode.
const WRITABLE: [&str; 9] = [
    "/dev/null",
    "/dev/zero",
    "/dev/urandom",
    "/dev/random",
    "/dev/dri",
    "/dev/nvidia0",
    "/dev/nvidiactl",
    "/dev/nvidia-uvm",
    "/dev/nvidia-modeset",
];

/// Restricts this thread and whatever it starts, for good. Where the kernel knows no landlock, system calls alone.
pub(super) fn this_thread(program: &Path, folder: Option<&Path>) -> Result<(), Error> {
    let own: Vec<PathBuf> = found(program).into_iter().collect();
    let created = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?;
    let status = created
        .add_rules(path_beneath_rules(READABLE, AccessFs::from_read(LANDLOCK)))?
        .add_rules(path_beneath_rules(own, AccessFs::from_read(LANDLOCK)))?
        .add_rules(path_beneath_rules(WRITABLE, AccessFs::from_all(LANDLOCK)))?
        .add_rules(path_beneath_rules(folder, own_files()))?
        .restrict_self()?;
    if status.ruleset == RulesetStatus::NotEnforced {
        tracing::warn!("this kernel has no landlock: ffmpeg can read what the server can");
    }
    apply_filter(&filter()?)?;
    Ok(())
}

/// Making, reading and writing ordinary files.
fn own_files() -> BitFlags<AccessFs> {
    AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::RemoveFile
}

/// Where a program is that may be given by its name alone.
fn found(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.canonicalize().ok();
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).find_map(|folder| folder.join(program).canonicalize().ok())
}

/// System calls that no codec needs fail. A list of what is allowed would break with each library and device driver.
fn filter() -> Result<BpfProgram, Error> {
    let forbidden = [
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_io_uring_setup,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_open_by_handle_at,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_kexec_load,
    ];
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        forbidden.into_iter().map(|call| (call, Vec::new())).collect();
    // Drivers talk to their daemons over local sockets; nothing else is a peer.
    let local = libc::AF_UNIX as u64;
    let elsewhere = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, local)?;
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(vec![elsewhere])?]);
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM as u32),
        std::env::consts::ARCH.try_into()?,
    )?;
    Ok(filter.try_into()?)
}
