# Copyright (c) 2026, the venom.llm authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that say where a model comes from and what may be fetched."""
from __future__ import annotations


class ModuleDocFragment:
    """The hub, the limits and the policy of a call that installs models."""

    DOCUMENTATION = r"""
options:
  endpoint:
    description:
      - Base URL of the Hugging Face hub.
      - Redirects may lead to hosts of this URL, to those of O(allowed_hosts), and, for the public hub, to hosts under
        C(huggingface.co) and C(hf.co).
    type: str
    default: https://huggingface.co
    version_added: 0.1.0
  allowed_hosts:
    description:
      - Further hosts that the hub may redirect to, each as C(host) or C(host:port).
      - The token is never sent to them.
    type: list
    elements: str
    default: []
    version_added: 0.1.0
  token:
    description:
      - Token of the hub, for gated and private repositories.
      - No token is taken from the environment or the home folder of the account on the host.
    type: str
    version_added: 0.1.0
  token_file:
    description:
      - File on the managed host that holds the token.
    type: path
    version_added: 0.1.0
  ca_path:
    description:
      - File of CA certificates that the certificates of hub, registry and mirrors are checked against, instead of the usual ones.
    type: path
    version_added: 0.1.0
  bundle:
    description:
      - Folder on the host that M(venom.llm.venom_bundle) made, in place of every hub and registry. No network is used, no token is read, and
        C(huggingface_hub) is not needed. What is refused of a hub is refused of a bundle. Not together with C(mirrors), C(mirrors_only) or C(plan).
      - Ollama models go into O(ollama_models_dir), since a server pulls from registries only.
    type: path
    version_added: 0.1.0
  max_disk_gb:
    description:
      - Quota of the models folder in GB (10^9 bytes), contents shared by several models counted once.
    type: float
    default: 50.0
    version_added: 0.1.0
  confirm_above_gb:
    description:
      - A call that would fetch more than this many GB (10^9 bytes) fails unless O(confirm_large) is set.
    type: float
    default: 20.0
    version_added: 0.1.0
  confirm_large:
    description:
      - Fetch more than O(confirm_above_gb).
    type: bool
    default: false
    version_added: 0.1.0
  reserve_gib:
    description:
      - GiB that must stay free on the file system of the models folder.
    type: float
    default: 1.0
    version_added: 0.1.0
  max_parallel:
    description:
      - Streams at once, 1 to 64. Large files are fetched in several ranges side by side when there are fewer files than streams.
    type: int
    default: 8
    version_added: 0.1.0
  retries:
    description:
      - Further tries of a request that failed for a reason that may pass, with growing waits in between.
    type: int
    default: 5
    version_added: 0.1.0
  stall_timeout:
    description:
      - Seconds after which a connection counts as broken that brings less than 1 KiB a second.
    type: float
    default: 30.0
    version_added: 0.1.0
  lock_timeout:
    description:
      - Seconds to wait for another process that changes the models of this host. With V(0) there is one try.
    type: float
    default: 60.0
    version_added: 0.1.0
  allow_pickle:
    description:
      - Install a repository whose weights are there only in formats that may run code when they are loaded, such as pickle, or that are not known.
      - Where safetensors or GGUF files are there too, such files are left out, archives included, since nothing needs them. They come only if
        this option is set and a pattern of O(include) ends in their suffix.
    type: bool
    default: false
    version_added: 0.1.0
  allow_remote_code:
    description:
      - Install a repository that has program files, or a configuration with C(auto_map), which makes runtimes load them.
    type: bool
    default: false
    version_added: 0.1.0
  cpu:
    description:
      - Whether the model is to run on the processor, so that its memory is compared with the main memory and not with that of a GPU.
      - When it is left out, the build of vLLM that is installed tells, else a GPU that the driver shows. Where there is neither, memory is
        not compared.
    type: bool
    version_added: 0.1.0
  fit:
    description:
      - What to do about a model that could not be served here, because of its memory, its quantisation or its architecture.
      - With V(refuse) nothing is fetched of it. With V(warn) it is installed all the same, as for a host that only passes models on.
    type: str
    choices: [refuse, warn]
    default: refuse
    version_added: 0.1.0
  deadline:
    description:
      - Seconds after which the fetching of this call stops with C(deadline_exceeded). What has arrived is kept, so that the next run
        goes on from there. V(0) means no limit.
      - A server that asks for a wait which would last longer is not waited for. The call then stops at once with C(rate_limited).
    type: float
    default: 0.0
    version_added: 0.1.0
  bandwidth_limit:
    description:
      - Most bytes a second over all streams of this call, such as V(50M) or V(10MiB/s). C(k), C(M) and C(G) are powers of 1000, C(Ki),
        C(Mi) and C(Gi) powers of 1024. No limit when it is left out.
    type: str
    version_added: 0.1.0
  verify:
    description:
      - With V(quick) what is installed already is compared by size, time and inode, which reads nothing.
      - With V(full) every byte of it is hashed again, as O(state=verified) does.
      - Whatever is fetched is always verified.
    type: str
    choices: [quick, full]
    default: quick
    version_added: 0.1.0
"""

    OLLAMA = r"""
options:
  registry:
    description:
      - Registry that Ollama models come from, as a URL or as C(host[:port]), which means https.
      - Only a URL that begins with C(http://) allows plain http.
      - A model whose name has a registry of its own, such as C(hf.co/owner/name), comes from there.
      - Redirects may lead to hosts of this URL, to those of O(allowed_hosts), and, for the public registry, to its storage under
        C(ollama.ai), C(ollama.com) and C(r2.cloudflarestorage.com).
    type: str
    default: https://registry.ollama.ai
    version_added: 0.1.0
  registry_username:
    description:
      - Account for O(registry), for basic authentication and for its token service. Neither is ever sent to another host.
      - With O(ollama_method=api) and O(ollama_method=cli) the Ollama server fetches by itself, without any of these credentials.
    type: str
    version_added: 0.1.0
  registry_password:
    description:
      - Password of O(registry_username).
    type: str
    version_added: 0.1.0
  registry_password_file:
    description:
      - File on the managed host that holds the password.
    type: path
    version_added: 0.1.0
  registry_token:
    description:
      - Bearer token for O(registry), instead of an account.
    type: str
    version_added: 0.1.0
  ollama_method:
    description:
      - How Ollama models get onto the host.
      - V(store) writes verified layers and then the manifest into O(ollama_models_dir), with the owner and modes of that folder, beside
        a running or a stopped server. Only this method resumes, pins and repairs.
      - V(api) lets the server at O(ollama_url) pull, and compares its digest with the registry's afterwards.
      - V(cli) lets the C(ollama) command do the same.
      - V(auto) takes the store where it is on this host and writable, else the server, else the command.
    type: str
    choices: [auto, store, api, cli]
    default: auto
    version_added: 0.1.0
  ollama_url:
    description:
      - URL of the Ollama server.
    type: str
    default: http://127.0.0.1:11434
    version_added: 0.1.0
  ollama_models_dir:
    description:
      - The server's C(OLLAMA_MODELS) on the managed host.
    type: path
    default: /var/lib/ollama
    version_added: 0.1.0
  ollama_owner:
    description:
      - Account that a store which is not there yet is made for. An existing store keeps its owner.
    type: str
    version_added: 0.1.0
"""

    MIRRORS = r"""
options:
  plan:
    description:
      - What models consist of, as RV(venom.llm.venom_model_info#module:plan) of a host that has them says it.
      - What it has is asked of no hub and no registry, so that takes no token, no internet and no huggingface_hub. The library requests is
        enough, with urllib3 2.3 or later.
      - Every file is then verified by its SHA-256, and every check of O(allow_pickle), O(allow_remote_code), O(fit) and the limits is made as
        with a hub.
    type: dict
    version_added: 0.1.0
  mirrors:
    description:
      - Base URLs of mirrors, which have contents at C(sha256/) and 64 hexadecimal digits below it, as the role C(mirror) serves them.
      - Each content is taken from one of them, chosen at random. One that does not answer, is too slow, does not have it or gives wrong bytes is
        left for another, and in the end for the hub or the registry.
      - Without O(plan) the hub or the registry is still asked what a model consists of, and for the small files that a hub announces by
        their git SHA-1.
      - They do not concern O(ollama_method=api) and O(ollama_method=cli), where the Ollama server fetches by itself.
    type: list
    elements: str
    default: []
    version_added: 0.1.0
  mirrors_only:
    description:
      - Never ask the hub or the registry. What neither O(plan) nor O(mirrors) have is an error.
    type: bool
    default: false
    version_added: 0.1.0
  mirrors_open:
    description:
      - Those of O(mirrors) that ask for no password, so that none is sent to them.
    type: list
    elements: str
    default: []
    version_added: 0.1.0
  mirror_username:
    description:
      - Account for basic authentication at O(mirrors). It and the password are sent to nobody else, not to O(mirrors_open), and over plain http
        to none but a loopback address.
    type: str
    version_added: 0.1.0
  mirror_password:
    description:
      - Password of O(mirror_username).
    type: str
    version_added: 0.1.0
  mirror_password_file:
    description:
      - File on the managed host that holds the password.
    type: path
    version_added: 0.1.0
"""
