/* Included before Linux's net/9p/trans_xen.c.
 *
 * It takes the pages of a share's rings to be neighbours for the hypervisor, too: it grants the first one's number plus one, plus
 * two, and so on. A PV guest's are not, once it has given memory back and got other memory (`runx update`), or if the host had no
 * pieces of 2 MiB left. The server would see other pages than the guest writes to. With these names the source counts numbers of
 * the guest's own, whose neighbours are neighbours, and each is translated by itself. */
#include <xen/grant_table.h>
#include <xen/page.h>

#undef virt_to_gfn
#define virt_to_gfn(address) virt_to_pfn(address)
#define gnttab_grant_foreign_access(domain, frame, readonly) gnttab_grant_foreign_access(domain, pfn_to_gfn(frame), readonly)
