from common import *
data=load_data("mnist1d"); JIT=.05
class Noise(nn.Module):
    """Each step another mean and scale for each unit, and a little for each example; training mode only."""
    def __init__(s,C,mu,sd): super().__init__(); s.C,s.mu,s.sd=C,mu,sd
    def forward(s,h):
        if not s.training or (s.mu==0 and s.sd==1): return h
        m=(torch.rand(1,s.C)*2-1)*s.mu; c=1+torch.rand(1,s.C)*(s.sd-1)
        return h*(c+JIT*torch.randn(h.shape))+m+(torch.rand(h.shape)*2-1)*JIT
def net(norm,noise,depth=12,H=64):
    def make():
        L=[];f=40
        for _ in range(depth):
            lin=nn.Linear(f,H,bias=norm is None); nn.init.normal_(lin.weight,std=(2/f)**.5)
            if norm is None: nn.init.zeros_(lin.bias)
            L+= [lin]+([norm(H)] if norm else [])+[Noise(H,*noise) if noise else nn.Identity(),nn.ReLU()]; f=H
        head=nn.Linear(H,10); nn.init.normal_(head.weight,std=H**-.5); nn.init.zeros_(head.bias)
        return nn.Sequential(*L,head)
    return make
def population(model):
    from companion import recompute_statistics
    import copy
    quiet=copy.deepcopy(model)
    for l in quiet.modules():
        if isinstance(l,Noise): l.mu,l.sd=0,1  # else one draw of the noise would be in the statistics of all
    return recompute_statistics(quiet,data.x)
def run(norm,noise,lr,steps,seed,depth=12):
    m=build(net(norm,noise,depth),seed); width=4 if norm else 3; place=(depth//2)*width+width-2  # the layer before the ReLU: after the noise
    seen=[]; h=m[place].register_forward_hook(lambda a,b,o:seen.append((o.detach().mean(0),o.detach().var(0))))
    torch.manual_seed(seed+10_000); log=train(m,data,lr,steps,100,seed); h.remove()
    mean=torch.stack([a for a,_ in seen]); var=torch.stack([b for _,b in seen])
    sd=var[:-1].mean(1,keepdim=True).sqrt(); step=((mean[1:]-mean[:-1]).abs()/sd).mean(1)
    e=population(m); e.eval(); err=100*(e(data.x_test).argmax(1)!=data.y_test).float().mean().item()
    # the mean over all training inputs, so that the mini-batch's own scatter is not counted
    return np.nan_to_num(log,nan=99)[-20:].mean(),err,step.nan_to_num().mean().item()
def clean_shift(norm,noise,lr,steps,seed,every=10,depth=12):
    """Shift of the distribution over one fixed batch of 500 inputs between two successive steps; noise drawn anew at each step."""
    m=build(net(norm,noise,depth),seed); width=4 if norm else 3; place=(depth//2)*width+width-2; rows=[];keep=[None]
    def look(t,loss,model):
        if t%every<2:
            with torch.no_grad():
                got=[]; h=model[place].register_forward_hook(lambda a,b,o:got.append(o)); st={k:v.clone() for k,v in model.state_dict().items()}; model(data.x[:500]); h.remove(); model.load_state_dict(st)
            o=got[0]; now=(o.mean(0),o.var(0).mean().sqrt())
            if t%every==1: rows.append(((now[0]-keep[0][0]).abs()/(keep[0][1]+1e-9)).mean().item())
            keep[0]=now
    torch.manual_seed(seed+10_000); train(m,data,lr,steps,100,seed,look); return float(np.mean(rows))
if __name__=='__main__':
    what=sys.argv[1:] or ['ab','c','d']
    if 'ab' in what:
        print('=== 12a, 12b: 12x64, rate .1, 150 steps of 100, noise (.25,1.1)'); 
        for nm,norm,noise in (('none',None,None),('bn',BatchNorm,None),('noisy bn',BatchNorm,(.25,1.1)),('none+noise',None,(.25,1.1))):
            r=np.array([run(norm,noise,.1,150,s) for s in SEEDS]); 
            print('  ',nm,'loss',ms(r[:,0]),'| error',ms(r[:,1]),'| shift as the prototype counts it (batch means from step to step)',ms(r[:,2]))
            c=[clean_shift(norm,noise,.1,150,s) for s in SEEDS]; print('       shift on 500 fixed inputs',ms(c)); lap(nm)
    if 'c' in what:
        print('=== 12c: stronger noise')
        for noise in ((.1,1.05),(.5,1.25),(1.,1.5),(2.,2.)):
            r=np.array([run(BatchNorm,noise,.1,150,s) for s in SEEDS]); print('   noisy bn',noise,'loss',ms(r[:,0]),'| error',ms(r[:,1]),'| shift',ms(r[:,2])); lap(str(noise))
    if 'd' in what:
        print('=== 12d: gradient shift, 8x64, batch 200, 40 steps without momentum, every 5')
        for lr in (.01,.03,.1,.3):
            for nm,norm in (('none',None),('bn',BatchNorm)):
                C=[];D=[]
                for s in SEEDS:
                    m=build(lambda:mlp(40,10,64,8,norm),s); width=3 if norm else 2; at=1+4*width; seen=[]
                    def each(t,loss,model):
                        if t%5==0: g=gradient_shift(loss,model,model[at],model[1:at],lr); seen.append((g.cosine,g.difference/g.gradient_norm,g.difference))
                    train(m,data,lr,40,200,s,each,momentum=0.); C.append(np.mean([a for a,*_ in seen])); D.append(np.mean([b for _,b,_ in seen]))
                print(f'   lr {lr:g} {nm}: cosine {ms(C)} | relative difference {ms(D)}')
            lap(f'lr {lr}')
