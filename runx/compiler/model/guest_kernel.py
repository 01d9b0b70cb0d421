"""What the guest's kernel has. `./build kernel-table` writes this, from what the kernel itself says."""

FRAGMENTS = "6e93c67e8616efa8b27c983f7e19923429ce0a42b598a5c4a222762cc74ddd9a"
"""Hash of the configuration from which the kernel was made (guest-assets/kernel)."""

CONFIG = {
    "CONFIG_BINFMT_MISC": False,
    "CONFIG_BRIDGE": False,
    "CONFIG_HUGETLBFS": False,
    "CONFIG_NETFILTER": False,
    "CONFIG_NUMA": False,
    "CONFIG_SWAP": False,
    "CONFIG_TCP_CONG_BBR": False,
    "CONFIG_TMPFS_QUOTA": False,
    "CONFIG_TRANSPARENT_HUGEPAGE": False,
    "CONFIG_TUN": False,
    "CONFIG_VETH": False,
    "CONFIG_WIREGUARD": False,
}

CHARACTER_DEVICES = frozenset(
    {
        (1, 3),
        (1, 5),
        (1, 7),
        (1, 8),
        (1, 9),
        (1, 11),
        (5, 0),
        (5, 1),
        (5, 2),
        (10, 229),
        (10, 237),
        (10, 256),
    }
)
"""Major and minor numbers of devices that each have a driver of their own."""

CHARACTER_MAJORS = frozenset({128, 136, 229})
"""Major numbers whose drivers have all minor numbers."""

BLOCK_MAJORS = frozenset({7, 202, 259})

SYSCTL = dict(
    line.partition(" ")[::2]
    for line in """
abi/vsyscall32 1 0 1
debug/exception-trace 1 -2147483648 2147483647
dev/tty/ldisc_autoload 1 0 1
dev/tty/legacy_tiocsti 1 -2147483648 2147483647
fs/aio-max-nr 1 0 18446744073709551615
fs/dir-notify-enable 1 -2147483648 2147483647
fs/epoll/max_user_watches 1 0 9223372036854775807
fs/fanotify/max_queued_events 1 0 2147483647
fs/fanotify/max_user_groups 1 0 2147483647
fs/fanotify/max_user_marks 1 0 2147483647
fs/file-max 1 0 9223372036854775807
fs/inotify/max_queued_events 1 0 2147483647
fs/inotify/max_user_instances 1 0 2147483647
fs/inotify/max_user_watches 1 0 2147483647
fs/lease-break-time 1 -2147483648 2147483647
fs/leases-enable 1 -2147483648 2147483647
fs/mount-max 1 1 2147483647
fs/mqueue/msg_default 1 1 65536
fs/mqueue/msg_max 1 1 65536
fs/mqueue/msgsize_default 1 128 16777216
fs/mqueue/msgsize_max 1 128 16777216
fs/mqueue/queues_max 1 -2147483648 2147483647
fs/nr_open 1 64 2147483584
fs/overflowgid 1 0 65535
fs/overflowuid 1 0 65535
fs/pipe-max-size 1 0 2147483648
fs/pipe-user-pages-hard 1 0 18446744073709551615
fs/pipe-user-pages-soft 1 0 18446744073709551615
fs/protected_fifos 1 0 2
fs/protected_hardlinks 1 0 1
fs/protected_regular 1 0 2
fs/protected_symlinks 1 0 1
fs/suid_dumpable 1 0 2
kernel/auto_msgmni 1 0 1
kernel/cad_pid
kernel/core_file_note_size_limit 1 4194304 16777216
kernel/core_pattern
kernel/core_pipe_limit 1 -2147483648 2147483647
kernel/core_sort_vma 1 0 1
kernel/core_uses_pid 1 -2147483648 2147483647
kernel/ctrl-alt-del 1 -2147483648 2147483647
kernel/dmesg_restrict 1 0 1
kernel/domainname
kernel/hostname
kernel/io_delay_type 1 -2147483648 2147483647
kernel/io_uring_disabled 1 0 2
kernel/io_uring_group 1 -2147483648 2147483647
kernel/keys/gc_delay 1 0 2147483647
kernel/keys/maxbytes 1 1 2147483647
kernel/keys/maxkeys 1 1 2147483647
kernel/keys/root_maxbytes 1 1 2147483647
kernel/keys/root_maxkeys 1 1 2147483647
kernel/kptr_restrict 1 0 2
kernel/max_lock_depth 1 -2147483648 2147483647
kernel/max_rcu_stall_to_panic 1 1 2147483647
kernel/msgmax 1 0 2147483647
kernel/msgmnb 1 0 2147483647
kernel/msgmni 1 0 32768
kernel/oops_all_cpu_backtrace 1 0 1
kernel/oops_limit 1 0 4294967295
kernel/overflowgid 1 0 65535
kernel/overflowuid 1 0 65535
kernel/panic 1 -2147483648 2147483647
kernel/panic_on_io_nmi 1 -2147483648 2147483647
kernel/panic_on_oops 1 -2147483648 2147483647
kernel/panic_on_rcu_stall 1 0 1
kernel/panic_on_unrecovered_nmi 1 -2147483648 2147483647
kernel/panic_on_warn 1 0 1
kernel/panic_print 1 0 18446744073709551615
kernel/perf_cpu_time_max_percent 1 0 100
kernel/perf_event_max_contexts_per_stack 1 0 1000
kernel/perf_event_max_sample_rate 1 1 2147483647
kernel/perf_event_max_stack 1 0 655360
kernel/perf_event_mlock_kb 1 -2147483648 2147483647
kernel/perf_event_paranoid 1 -2147483648 2147483647
kernel/pid_max 1 301 4194304
kernel/poweroff_cmd
kernel/print-fatal-signals 1 -2147483648 2147483647
kernel/printk 4 -2147483648 2147483647
kernel/printk_delay 1 0 10000
kernel/printk_devkmsg
kernel/printk_ratelimit 1 -8589934 8589934
kernel/printk_ratelimit_burst 1 -2147483648 2147483647
kernel/pty/max 1 0 2147483647
kernel/pty/reserve 1 0 2147483647
kernel/random/urandom_min_reseed_secs 1 -8589934591 18446744073709551615
kernel/random/write_wakeup_threshold 1 -8589934591 18446744073709551615
kernel/randomize_va_space 1 -2147483648 2147483647
kernel/real-root-dev 1 -2147483648 2147483647
kernel/sched_cfs_bandwidth_slice_us 1 1 2147483647
kernel/sched_deadline_period_max_us 1 100 4294967295
kernel/sched_deadline_period_min_us 1 0 4194304
kernel/sched_rr_timeslice_ms 1 -2147483648 2147483647
kernel/sched_rt_period_us
kernel/sched_rt_runtime_us
kernel/seccomp/actions_logged
kernel/sem 4 -2147483648 2147483647
kernel/shm_rmid_forced 1 0 1
kernel/shmall
kernel/shmmax
kernel/shmmni 1 0 32768
kernel/split_lock_mitigate 1 0 1
kernel/sysctl_writes_strict 1 -1 1
kernel/tainted 1 0 18446744073709551615
kernel/threads-max
kernel/timer_migration 1 0 1
kernel/unknown_nmi_panic 1 -2147483648 2147483647
kernel/unprivileged_userns_clone 1 -2147483648 2147483647
kernel/usermodehelper/bset 2 0 18446744073709551615
kernel/usermodehelper/inheritable 2 0 18446744073709551615
kernel/warn_limit 1 0 4294967295
net/core/busy_poll 1 0 2147483647
net/core/busy_read 1 0 2147483647
net/core/dev_weight 1 1 2147483647
net/core/dev_weight_rx_bias 1 1 2147483647
net/core/dev_weight_tx_bias 1 1 2147483647
net/core/devconf_inherit_init_net 1 0 3
net/core/fb_tunnels_only_for_init_net 1 0 2
net/core/gro_normal_batch 1 1 2147483647
net/core/high_order_alloc_disable 1 0 1
net/core/max_skb_frags 1 1 17
net/core/mem_pcpu_rsv 1 256 2147483647
net/core/message_burst 1 -2147483648 2147483647
net/core/message_cost 1 -8589934 8589934
net/core/netdev_budget 1 -2147483648 2147483647
net/core/netdev_budget_usecs 1 8000 2147483647
net/core/netdev_max_backlog 1 -2147483648 2147483647
net/core/netdev_tstamp_prequeue 1 -2147483648 2147483647
net/core/netdev_unregister_timeout_secs 1 1 3600
net/core/optmem_max 1 0 2147483647
net/core/rmem_default 1 2304 2147483647
net/core/rmem_max 1 2304 2147483647
net/core/skb_defer_max 1 0 2147483647
net/core/somaxconn 1 0 2147483647
net/core/tstamp_allow_data 1 0 1
net/core/txrehash 1 0 1
net/core/warnings 1 -2147483648 2147483647
net/core/wmem_default 1 4608 2147483647
net/core/wmem_max 1 4608 2147483647
net/ipv4/conf/*/accept_local 1 -2147483648 2147483647
net/ipv4/conf/*/accept_redirects 1 -2147483648 2147483647
net/ipv4/conf/*/accept_source_route 1 -2147483648 2147483647
net/ipv4/conf/*/arp_accept 1 -2147483648 2147483647
net/ipv4/conf/*/arp_announce 1 -2147483648 2147483647
net/ipv4/conf/*/arp_evict_nocarrier 1 -2147483648 2147483647
net/ipv4/conf/*/arp_filter 1 -2147483648 2147483647
net/ipv4/conf/*/arp_ignore 1 -2147483648 2147483647
net/ipv4/conf/*/arp_notify 1 -2147483648 2147483647
net/ipv4/conf/*/bc_forwarding 1 -2147483648 2147483647
net/ipv4/conf/*/bootp_relay 1 -2147483648 2147483647
net/ipv4/conf/*/disable_policy 1 -2147483648 2147483647
net/ipv4/conf/*/disable_xfrm 1 -2147483648 2147483647
net/ipv4/conf/*/drop_gratuitous_arp 1 -2147483648 2147483647
net/ipv4/conf/*/drop_unicast_in_l2_multicast 1 -2147483648 2147483647
net/ipv4/conf/*/force_igmp_version 1 -2147483648 2147483647
net/ipv4/conf/*/forwarding 1 -2147483648 2147483647
net/ipv4/conf/*/igmpv2_unsolicited_report_interval 1 -2147483648 2147483647
net/ipv4/conf/*/igmpv3_unsolicited_report_interval 1 -2147483648 2147483647
net/ipv4/conf/*/ignore_routes_with_linkdown 1 -2147483648 2147483647
net/ipv4/conf/*/log_martians 1 -2147483648 2147483647
net/ipv4/conf/*/medium_id 1 -2147483648 2147483647
net/ipv4/conf/*/promote_secondaries 1 -2147483648 2147483647
net/ipv4/conf/*/proxy_arp 1 -2147483648 2147483647
net/ipv4/conf/*/proxy_arp_pvlan 1 -2147483648 2147483647
net/ipv4/conf/*/route_localnet 1 -2147483648 2147483647
net/ipv4/conf/*/rp_filter 1 -2147483648 2147483647
net/ipv4/conf/*/secure_redirects 1 -2147483648 2147483647
net/ipv4/conf/*/send_redirects 1 -2147483648 2147483647
net/ipv4/conf/*/shared_media 1 -2147483648 2147483647
net/ipv4/conf/*/src_valid_mark 1 -2147483648 2147483647
net/ipv4/conf/*/tag 1 -2147483648 2147483647
net/ipv4/fib_notify_on_flag_change 1 0 2
net/ipv4/fib_sync_mem 1 65536 67108864
net/ipv4/fwmark_reflect 1 0 255
net/ipv4/icmp_echo_enable_probe 1 0 1
net/ipv4/icmp_echo_ignore_all 1 0 1
net/ipv4/icmp_echo_ignore_broadcasts 1 0 1
net/ipv4/icmp_errors_use_inbound_ifaddr 1 0 1
net/ipv4/icmp_ignore_bogus_error_responses 1 0 1
net/ipv4/icmp_msgs_burst 1 0 2147483647
net/ipv4/icmp_msgs_per_sec 1 0 2147483647
net/ipv4/icmp_ratelimit 1 0 2147483647
net/ipv4/icmp_ratemask 1 -2147483648 2147483647
net/ipv4/igmp_link_local_mcast_reports 1 0 255
net/ipv4/igmp_max_memberships 1 -2147483648 2147483647
net/ipv4/igmp_max_msf 1 -2147483648 2147483647
net/ipv4/inet_peer_maxttl 1 -8589934 8589934
net/ipv4/inet_peer_minttl 1 -8589934 8589934
net/ipv4/inet_peer_threshold 1 -2147483648 2147483647
net/ipv4/ip_autobind_reuse 1 0 1
net/ipv4/ip_default_ttl 1 1 255
net/ipv4/ip_dynaddr 1 0 255
net/ipv4/ip_early_demux 1 0 255
net/ipv4/ip_forward 1 -2147483648 2147483647
net/ipv4/ip_forward_update_priority 1 0 1
net/ipv4/ip_forward_use_pmtu 1 0 255
net/ipv4/ip_local_port_range
net/ipv4/ip_local_reserved_ports
net/ipv4/ip_no_pmtu_disc 1 0 255
net/ipv4/ip_nonlocal_bind 1 0 255
net/ipv4/ip_unprivileged_port_start
net/ipv4/ipfrag_high_thresh 1 3145728 18446744073709551615
net/ipv4/ipfrag_low_thresh 1 0 4194304
net/ipv4/ipfrag_max_dist 1 0 2147483647
net/ipv4/ipfrag_secret_interval 1 -8589934 8589934
net/ipv4/ipfrag_time 1 -8589934 8589934
net/ipv4/neigh/*/anycast_delay 1 -8589934591 3689348814741910300
net/ipv4/neigh/*/app_solicit 1 0 2147483647
net/ipv4/neigh/*/base_reachable_time 1 -8589934 8589934
net/ipv4/neigh/*/base_reachable_time_ms 1 0 2147483647
net/ipv4/neigh/*/delay_first_probe_time 1 -8589934 8589934
net/ipv4/neigh/*/gc_interval 1 -8589934 8589934
net/ipv4/neigh/*/gc_stale_time 1 -8589934 8589934
net/ipv4/neigh/*/gc_thresh1 1 0 2147483647
net/ipv4/neigh/*/gc_thresh2 1 0 2147483647
net/ipv4/neigh/*/gc_thresh3 1 0 2147483647
net/ipv4/neigh/*/interval_probe_time_ms 1 1 2147483647
net/ipv4/neigh/*/locktime 1 -8589934591 3689348814741910300
net/ipv4/neigh/*/mcast_resolicit 1 0 2147483647
net/ipv4/neigh/*/mcast_solicit 1 0 2147483647
net/ipv4/neigh/*/proxy_delay 1 -8589934591 3689348814741910300
net/ipv4/neigh/*/proxy_qlen 1 0 2147483647
net/ipv4/neigh/*/retrans_time 1 -8589934591 3689348814741910300
net/ipv4/neigh/*/retrans_time_ms 1 0 2147483647
net/ipv4/neigh/*/ucast_solicit 1 0 2147483647
net/ipv4/neigh/*/unres_qlen 1 0 1027504
net/ipv4/neigh/*/unres_qlen_bytes 1 0 2147483647
net/ipv4/nexthop_compat_mode 1 0 1
net/ipv4/ping_group_range
net/ipv4/route/error_burst 1 -2147483648 2147483647
net/ipv4/route/error_cost 1 -2147483648 2147483647
net/ipv4/route/flush
net/ipv4/route/gc_elasticity 1 -2147483648 2147483647
net/ipv4/route/gc_interval 1 -8589934 8589934
net/ipv4/route/gc_min_interval 1 -8589934 8589934
net/ipv4/route/gc_min_interval_ms 1 0 2147483647
net/ipv4/route/gc_thresh 1 -2147483648 2147483647
net/ipv4/route/gc_timeout 1 -8589934 8589934
net/ipv4/route/max_size 1 -2147483648 2147483647
net/ipv4/route/min_adv_mss 1 -2147483648 2147483647
net/ipv4/route/min_pmtu 1 68 2147483647
net/ipv4/route/mtu_expires 1 -8589934 8589934
net/ipv4/route/redirect_load 1 -2147483648 2147483647
net/ipv4/route/redirect_number 1 -2147483648 2147483647
net/ipv4/route/redirect_silence 1 -2147483648 2147483647
net/ipv4/tcp_abort_on_overflow 1 0 255
net/ipv4/tcp_adv_win_scale 1 -31 31
net/ipv4/tcp_allowed_congestion_control
net/ipv4/tcp_app_win 1 0 31
net/ipv4/tcp_autocorking 1 0 1
net/ipv4/tcp_backlog_ack_defer 1 0 1
net/ipv4/tcp_base_mss 1 -2147483648 2147483647
net/ipv4/tcp_challenge_ack_limit 1 -2147483648 2147483647
net/ipv4/tcp_child_ehash_entries 1 0 16777216
net/ipv4/tcp_comp_sack_delay_ns 1 0 18446744073709551615
net/ipv4/tcp_comp_sack_nr 1 0 255
net/ipv4/tcp_comp_sack_slack_ns 1 0 18446744073709551615
net/ipv4/tcp_congestion_control
net/ipv4/tcp_dsack 1 0 255
net/ipv4/tcp_early_demux 1 0 255
net/ipv4/tcp_early_retrans 1 0 4
net/ipv4/tcp_ecn 1 0 2
net/ipv4/tcp_ecn_fallback 1 0 1
net/ipv4/tcp_fack 1 0 255
net/ipv4/tcp_fastopen 1 -2147483648 2147483647
net/ipv4/tcp_fastopen_blackhole_timeout_sec 1 0 2147483647
net/ipv4/tcp_fastopen_key
net/ipv4/tcp_fin_timeout 1 -8589934 8589934
net/ipv4/tcp_frto 1 0 255
net/ipv4/tcp_fwmark_accept 1 0 255
net/ipv4/tcp_invalid_ratelimit 1 0 2147483647
net/ipv4/tcp_keepalive_intvl 1 -8589934 8589934
net/ipv4/tcp_keepalive_probes 1 0 255
net/ipv4/tcp_keepalive_time 1 -8589934 8589934
net/ipv4/tcp_limit_output_bytes 1 -2147483648 2147483647
net/ipv4/tcp_low_latency 1 -2147483648 2147483647
net/ipv4/tcp_max_orphans 1 -2147483648 2147483647
net/ipv4/tcp_max_reordering 1 1 2147483647
net/ipv4/tcp_max_syn_backlog 1 -2147483648 2147483647
net/ipv4/tcp_max_tw_buckets 1 -2147483648 2147483647
net/ipv4/tcp_mem 3 0 18446744073709551615
net/ipv4/tcp_migrate_req 1 0 1
net/ipv4/tcp_min_rtt_wlen 1 0 86400
net/ipv4/tcp_min_snd_mss 1 48 65535
net/ipv4/tcp_min_tso_segs 1 1 255
net/ipv4/tcp_moderate_rcvbuf 1 0 255
net/ipv4/tcp_mtu_probe_floor 1 48 65535
net/ipv4/tcp_mtu_probing 1 0 255
net/ipv4/tcp_no_metrics_save 1 0 255
net/ipv4/tcp_no_ssthresh_metrics_save 1 0 1
net/ipv4/tcp_notsent_lowat 1 0 4294967295
net/ipv4/tcp_orphan_retries 1 0 255
net/ipv4/tcp_pacing_ca_ratio 1 0 1000
net/ipv4/tcp_pacing_ss_ratio 1 0 1000
net/ipv4/tcp_pingpong_thresh 1 1 255
net/ipv4/tcp_plb_cong_thresh 1 0 256
net/ipv4/tcp_plb_enabled 1 0 1
net/ipv4/tcp_plb_idle_rehash_rounds 1 0 31
net/ipv4/tcp_plb_rehash_rounds 1 0 31
net/ipv4/tcp_plb_suspend_rto_sec 1 0 255
net/ipv4/tcp_probe_interval 1 0 17179869
net/ipv4/tcp_probe_threshold 1 -2147483648 2147483647
net/ipv4/tcp_recovery 1 0 255
net/ipv4/tcp_reflect_tos 1 0 1
net/ipv4/tcp_reordering 1 1 300
net/ipv4/tcp_retrans_collapse 1 0 255
net/ipv4/tcp_retries1 1 0 255
net/ipv4/tcp_retries2 1 0 255
net/ipv4/tcp_rfc1337 1 0 255
net/ipv4/tcp_rmem 3 4096 2147483647
net/ipv4/tcp_rto_min_us 1 1 2147483647
net/ipv4/tcp_sack 1 0 255
net/ipv4/tcp_shrink_window 1 0 1
net/ipv4/tcp_slow_start_after_idle 1 0 255
net/ipv4/tcp_stdurg 1 0 255
net/ipv4/tcp_syn_linear_timeouts 1 0 127
net/ipv4/tcp_syn_retries 1 1 127
net/ipv4/tcp_synack_retries 1 0 255
net/ipv4/tcp_syncookies 1 0 255
net/ipv4/tcp_thin_linear_timeouts 1 0 255
net/ipv4/tcp_timestamps 1 0 255
net/ipv4/tcp_tso_rtt_log 1 0 31
net/ipv4/tcp_tso_win_divisor 1 0 255
net/ipv4/tcp_tw_reuse 1 0 2
net/ipv4/tcp_window_scaling 1 0 255
net/ipv4/tcp_wmem 3 1 2147483647
net/ipv4/tcp_workaround_signed_windows 1 0 255
net/ipv4/udp_child_hash_entries 1 0 65536
net/ipv4/udp_early_demux 1 0 255
net/ipv4/udp_mem 3 0 18446744073709551615
net/ipv4/udp_rmem_min 1 1 2147483647
net/ipv4/udp_wmem_min 1 1 2147483647
net/ipv6/anycast_src_echo_reply 1 0 255
net/ipv6/auto_flowlabels 1 0 3
net/ipv6/bindv6only 1 0 255
net/ipv6/conf/*/accept_dad 1 -2147483648 2147483647
net/ipv6/conf/*/accept_ra 1 -2147483648 2147483647
net/ipv6/conf/*/accept_ra_defrtr 1 -2147483648 2147483647
net/ipv6/conf/*/accept_ra_from_local 1 -2147483648 2147483647
net/ipv6/conf/*/accept_ra_min_hop_limit 1 -2147483648 2147483647
net/ipv6/conf/*/accept_ra_min_lft 1 -2147483648 2147483647
net/ipv6/conf/*/accept_ra_mtu 1 -2147483648 2147483647
net/ipv6/conf/*/accept_ra_pinfo 1 -2147483648 2147483647
net/ipv6/conf/*/accept_redirects 1 -2147483648 2147483647
net/ipv6/conf/*/accept_source_route 1 -2147483648 2147483647
net/ipv6/conf/*/accept_untracked_na 1 0 2
net/ipv6/conf/*/addr_gen_mode 1 0 3
net/ipv6/conf/*/autoconf 1 -2147483648 2147483647
net/ipv6/conf/*/dad_transmits 1 -2147483648 2147483647
net/ipv6/conf/*/disable_ipv6 1 -2147483648 2147483647
net/ipv6/conf/*/disable_policy 1 -2147483648 2147483647
net/ipv6/conf/*/drop_unicast_in_l2_multicast 1 -2147483648 2147483647
net/ipv6/conf/*/drop_unsolicited_na 1 -2147483648 2147483647
net/ipv6/conf/*/enhanced_dad 1 -2147483648 2147483647
net/ipv6/conf/*/force_mld_version 1 -2147483648 2147483647
net/ipv6/conf/*/force_tllao 1 -2147483648 2147483647
net/ipv6/conf/*/forwarding 1 -2147483648 2147483647
net/ipv6/conf/*/hop_limit 1 1 255
net/ipv6/conf/*/ignore_routes_with_linkdown 1 -2147483648 2147483647
net/ipv6/conf/*/ioam6_enabled 1 0 1
net/ipv6/conf/*/ioam6_id 1 0 65535
net/ipv6/conf/*/ioam6_id_wide 1 0 4294967295
net/ipv6/conf/*/keep_addr_on_down 1 -2147483648 2147483647
net/ipv6/conf/*/max_addresses 1 -2147483648 2147483647
net/ipv6/conf/*/max_desync_factor 1 -2147483648 2147483647
net/ipv6/conf/*/mldv1_unsolicited_report_interval 1 0 2147483647
net/ipv6/conf/*/mldv2_unsolicited_report_interval 1 0 2147483647
net/ipv6/conf/*/mtu 1 1280 2147483647
net/ipv6/conf/*/ndisc_evict_nocarrier 1 0 1
net/ipv6/conf/*/ndisc_notify 1 -2147483648 2147483647
net/ipv6/conf/*/ndisc_tclass 1 0 255
net/ipv6/conf/*/proxy_ndp 1 -2147483648 2147483647
net/ipv6/conf/*/ra_defrtr_metric 1 1 4294967295
net/ipv6/conf/*/ra_honor_pio_life 1 0 1
net/ipv6/conf/*/ra_honor_pio_pflag 1 0 1
net/ipv6/conf/*/regen_max_retry 1 -2147483648 2147483647
net/ipv6/conf/*/regen_min_advance 1 -2147483648 2147483647
net/ipv6/conf/*/router_solicitation_delay 1 -8589934 8589934
net/ipv6/conf/*/router_solicitation_interval 1 -8589934 8589934
net/ipv6/conf/*/router_solicitation_max_interval 1 -8589934 8589934
net/ipv6/conf/*/router_solicitations 1 -1 2147483647
net/ipv6/conf/*/rpl_seg_enabled 1 0 1
net/ipv6/conf/*/seg6_enabled 1 -2147483648 2147483647
net/ipv6/conf/*/stable_secret
net/ipv6/conf/*/suppress_frag_ndisc 1 -2147483648 2147483647
net/ipv6/conf/*/temp_prefered_lft 1 -2147483648 2147483647
net/ipv6/conf/*/temp_valid_lft 1 -2147483648 2147483647
net/ipv6/conf/*/use_oif_addrs_only 1 -2147483648 2147483647
net/ipv6/conf/*/use_tempaddr 1 -2147483648 2147483647
net/ipv6/fib_multipath_hash_fields 1 1 4095
net/ipv6/fib_multipath_hash_policy 1 0 3
net/ipv6/fib_notify_on_flag_change 1 0 2
net/ipv6/flowlabel_consistency 1 0 255
net/ipv6/flowlabel_reflect 1 0 7
net/ipv6/flowlabel_state_ranges 1 0 255
net/ipv6/fwmark_reflect 1 0 255
net/ipv6/icmp/echo_ignore_all 1 0 255
net/ipv6/icmp/echo_ignore_anycast 1 0 255
net/ipv6/icmp/echo_ignore_multicast 1 0 255
net/ipv6/icmp/error_anycast_as_unicast 1 0 1
net/ipv6/icmp/ratelimit 1 0 2147483647
net/ipv6/icmp/ratemask
net/ipv6/idgen_delay 1 -8589934 8589934
net/ipv6/idgen_retries 1 -2147483648 2147483647
net/ipv6/ioam6_id 1 0 16777215
net/ipv6/ioam6_id_wide
net/ipv6/ip6frag_high_thresh 1 3145728 18446744073709551615
net/ipv6/ip6frag_low_thresh 1 0 4194304
net/ipv6/ip6frag_secret_interval 1 -8589934 8589934
net/ipv6/ip6frag_time 1 -8589934 8589934
net/ipv6/ip_nonlocal_bind 1 0 255
net/ipv6/max_dst_opts_length 1 -2147483648 2147483647
net/ipv6/max_dst_opts_number 1 -2147483648 2147483647
net/ipv6/max_hbh_length 1 -2147483648 2147483647
net/ipv6/max_hbh_opts_number 1 -2147483648 2147483647
net/ipv6/mld_max_msf 1 -2147483648 2147483647
net/ipv6/mld_qrv 1 1 2147483647
net/ipv6/neigh/*/anycast_delay 1 -8589934591 3689348814741910300
net/ipv6/neigh/*/app_solicit 1 0 2147483647
net/ipv6/neigh/*/base_reachable_time 1 -8589934 8589934
net/ipv6/neigh/*/base_reachable_time_ms 1 0 2147483647
net/ipv6/neigh/*/delay_first_probe_time 1 -8589934 8589934
net/ipv6/neigh/*/gc_interval 1 -8589934 8589934
net/ipv6/neigh/*/gc_stale_time 1 -8589934 8589934
net/ipv6/neigh/*/gc_thresh1 1 0 2147483647
net/ipv6/neigh/*/gc_thresh2 1 0 2147483647
net/ipv6/neigh/*/gc_thresh3 1 0 2147483647
net/ipv6/neigh/*/interval_probe_time_ms 1 1 2147483647
net/ipv6/neigh/*/locktime 1 -8589934591 3689348814741910300
net/ipv6/neigh/*/mcast_resolicit 1 0 2147483647
net/ipv6/neigh/*/mcast_solicit 1 0 2147483647
net/ipv6/neigh/*/proxy_delay 1 -8589934591 3689348814741910300
net/ipv6/neigh/*/proxy_qlen 1 0 2147483647
net/ipv6/neigh/*/retrans_time 1 -2147483648 2147483647
net/ipv6/neigh/*/retrans_time_ms 1 0 2147483647
net/ipv6/neigh/*/ucast_solicit 1 0 2147483647
net/ipv6/neigh/*/unres_qlen 1 0 1027504
net/ipv6/neigh/*/unres_qlen_bytes 1 0 2147483647
net/ipv6/route/flush
net/ipv6/route/gc_elasticity 1 -2147483648 2147483647
net/ipv6/route/gc_interval 1 -8589934 8589934
net/ipv6/route/gc_min_interval 1 -8589934 8589934
net/ipv6/route/gc_min_interval_ms 1 0 2147483647
net/ipv6/route/gc_thresh 1 -2147483648 2147483647
net/ipv6/route/gc_timeout 1 -8589934 8589934
net/ipv6/route/max_size 1 -2147483648 2147483647
net/ipv6/route/min_adv_mss 1 -2147483648 2147483647
net/ipv6/route/mtu_expires 1 -8589934 8589934
net/ipv6/route/skip_notify_on_dev_down 1 0 1
net/ipv6/seg6_flowlabel 1 -2147483648 2147483647
net/unix/max_dgram_qlen 1 0 2147483647
user/max_cgroup_namespaces 1 0 2147483647
user/max_fanotify_groups 1 0 2147483647
user/max_fanotify_marks 1 0 2147483647
user/max_inotify_instances 1 0 2147483647
user/max_inotify_watches 1 0 2147483647
user/max_ipc_namespaces 1 0 2147483647
user/max_mnt_namespaces 1 0 2147483647
user/max_net_namespaces 1 0 2147483647
user/max_pid_namespaces 1 0 2147483647
user/max_time_namespaces 1 0 2147483647
user/max_user_namespaces 1 0 2147483647
user/max_uts_namespaces 1 0 2147483647
vm/admin_reserve_kbytes 1 0 18446744073709551615
vm/compact_memory
vm/compact_unevictable_allowed 1 0 1
vm/compaction_proactiveness 1 0 100
vm/dirty_background_bytes 1 1 17592186040320
vm/dirty_background_ratio 1 0 100
vm/dirty_bytes 1 8192 17592186040320
vm/dirty_expire_centisecs 1 0 2147483647
vm/dirty_ratio 1 0 100
vm/dirty_writeback_centisecs 1 -2147483648 2147483647
vm/dirtytime_expire_seconds 1 0 2147483647
vm/drop_caches
vm/extfrag_threshold 1 0 1000
vm/laptop_mode 1 -8589934 8589934
vm/legacy_va_layout 1 0 2147483647
vm/lowmem_reserve_ratio 3 -8589934591 18446744073709551615
vm/max_map_count 1 0 2147483647
vm/memfd_noexec 1 0 2
vm/min_free_kbytes
vm/mmap_min_addr 1 0 18446744073709551615
vm/mmap_rnd_bits
vm/mmap_rnd_compat_bits
vm/oom_dump_tasks 1 -2147483648 2147483647
vm/oom_kill_allocating_task 1 -2147483648 2147483647
vm/overcommit_kbytes 1 0 18446744073709551615
vm/overcommit_memory
vm/overcommit_ratio 1 -2147483648 2147483647
vm/page-cluster 1 0 31
vm/page_lock_unfairness 1 0 2147483647
vm/panic_on_oom 1 0 2
vm/percpu_pagelist_high_fraction 1 0 2147483647
vm/stat_interval 1 -8589934 8589934
vm/stat_refresh
vm/swappiness 1 0 200
vm/unprivileged_userfaultfd 1 0 1
vm/user_reserve_kbytes 1 0 18446744073709551615
vm/vfs_cache_pressure 1 0 2147483647
vm/watermark_boost_factor 1 0 2147483647
vm/watermark_scale_factor 1 1 3000
""".strip().split("\n")
)
"""Parameters below /proc/sys that can be written. * stands for an interface. How many numbers each has, and its least and
greatest value; "" where there are no bounds of its own."""

PLACES = dict(
    line.partition(" ")[::2]
    for line in """
/proc/buddyinfo file
/proc/bus directory
/proc/cgroups file
/proc/cmdline file
/proc/consoles file
/proc/cpuinfo file
/proc/crypto file
/proc/devices file
/proc/diskstats file
/proc/driver directory
/proc/execdomains file
/proc/filesystems file
/proc/fs directory
/proc/interrupts file
/proc/iomem file
/proc/ioports file
/proc/irq directory
/proc/key-users file
/proc/keys file
/proc/kmsg file
/proc/kpagecgroup file
/proc/kpagecount file
/proc/kpageflags file
/proc/loadavg file
/proc/locks file
/proc/meminfo file
/proc/misc file
/proc/mounts file
/proc/net directory
/proc/pagetypeinfo file
/proc/partitions file
/proc/pressure directory
/proc/self directory
/proc/softirqs file
/proc/stat file
/proc/sys directory
/proc/sys/abi directory
/proc/sys/debug directory
/proc/sys/dev directory
/proc/sys/fs directory
/proc/sys/kernel directory
/proc/sys/net directory
/proc/sys/user directory
/proc/sys/vm directory
/proc/sysvipc directory
/proc/thread-self directory
/proc/timer_list file
/proc/tty directory
/proc/uptime file
/proc/version file
/proc/vmallocinfo file
/proc/vmstat file
/proc/xen directory
/proc/zoneinfo file
/sys/block directory
/sys/bus directory
/sys/class directory
/sys/dev directory
/sys/devices directory
/sys/firmware directory
/sys/fs directory
/sys/fs/9p directory
/sys/fs/cgroup directory
/sys/fs/erofs directory
/sys/fs/ext4 directory
/sys/fs/fuse directory
/sys/hypervisor directory
/sys/kernel directory
/sys/kernel/address_bits file
/sys/kernel/boot_params directory
/sys/kernel/cgroup directory
/sys/kernel/cpu_byteorder file
/sys/kernel/fscaps file
/sys/kernel/irq directory
/sys/kernel/mm directory
/sys/kernel/notes file
/sys/kernel/oops_count file
/sys/kernel/rcu_expedited file
/sys/kernel/rcu_normal file
/sys/kernel/reboot directory
/sys/kernel/slab directory
/sys/kernel/software_nodes directory
/sys/kernel/uevent_seqnum file
/sys/kernel/warn_count file
/sys/module directory
/sys/power directory
""".strip().split("\n")
)
"""Files and directories of proc and sysfs: all of /proc but processes, and of /proc/sys, /sys, /sys/fs and /sys/kernel."""
