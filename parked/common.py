"""Throwaway: seeds, a plain training loop, small helpers."""
import os, time, math, sys
os.environ.setdefault("COMPANION_DEVICE","cpu")
import torch, numpy as np
from torch import nn
from torch.nn.functional import cross_entropy
torch.set_num_threads(1)
SEEDS = (100,101,102,103,104)
from companion import load_data, mlp, BatchNorm, GhostBatchNorm, LayerNorm, GroupNorm, fit
from companion import signal_propagation, loss_along, gradient_shift, batch_noise, excess_loss
CLOCK=[time.process_time()]
def lap(what):
    now=time.process_time(); print(f"   [{what}: {now-CLOCK[0]:.1f} CPU s]",flush=True); CLOCK[0]=now
def ms(a):
    a=np.asarray(a,dtype=float); return f"{a.mean():.3f}±{a.std(ddof=1)/len(a)**.5:.3f} per seed {np.array2string(a,precision=3,separator=' ')}"
def build(make,seed):
    torch.manual_seed(seed); return make()
def train(model,data,lr,steps,B,seed,each=None,momentum=.9):
    """SGD; each(step, loss_closure, model) before each step."""
    g=torch.Generator().manual_seed(seed); opt=torch.optim.SGD(model.parameters(),lr=lr,momentum=momentum); out=[]; n=len(data.y); order=None
    per=n//B
    for t in range(steps):
        if t%per==0: order=torch.randperm(n,generator=g)
        idx=order[(t%per)*B:(t%per+1)*B]; x,y=data.x[idx],data.y[idx]
        if each: each(t,lambda:cross_entropy(model(x),y),model)
        loss=cross_entropy(model(x),y); opt.zero_grad(); loss.backward(); opt.step(); out.append(loss.item())
        if not math.isfinite(out[-1]): out+= [math.nan]*(steps-t-1); break
    return np.array(out)
def linfit(k,v):
    p=np.polyfit(k,v,1); r=v-np.polyval(p,k); return p[0],1-(r**2).sum()/((v-v.mean())**2).sum()
